// Package examples has a runnable program for each use of Duplex, each in a folder
// of its own:
//
//	go run ./examples/departures   events: publish, and a group that handles
//	go run ./examples/workqueue    background jobs: retries, and a verdict for each
//	go run ./examples/failures     retry topics with delays, and a dead-letter queue
//	go run ./examples/batch        many records at once into a store
//	go run ./examples/outcome      what to do when a publish is refused or unknown
//
// Each brings its own embedded broker and checks what it shows: it exits with 1
// when that did not hold. With -brokers, or DUPLEX_BROKERS, it runs on a Kafka,
// where its topic must exist.
package examples
