// Package archtest holds no code but tests: that the repository is built as
// docs/architecture.md says. The tables of that page are read, not repeated here.
package archtest
