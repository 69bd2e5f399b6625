// Package apptest runs the programs of internal/app inside a test, as their main
// would run them, against embedded brokers that listen on a port.
package apptest
