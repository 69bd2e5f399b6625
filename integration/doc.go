// Package integration tests Duplex from outside, on real Kafka: the conformance
// suite, the built binaries driven as processes, and faults that only a real
// broker has, such as kill -9 and a frozen process. It is a module of its own, so
// that nobody who uses Duplex ever fetches testcontainers.
//
//	go test ./integration/...                     # Docker, or skipped with one line
//	REQUIRE_KAFKA=1 go test ./integration/...     # as in CI: no Kafka is a failure
//	DUPLEX_TEST_BROKERS=127.0.0.1:9092 go test ./integration/...
//
// # Environment
//
//	REQUIRE_KAFKA=1        a missing Kafka fails the tests instead of skipping them
//	DUPLEX_TEST_BROKERS    addresses of brokers to use instead of a container, separated
//	                       by commas; tests that kill brokers still start their own
//	DUPLEX_KAFKA_IMAGE     the image to start, apache/kafka:4.3.0 unless set
//
// What testcontainers reads (DOCKER_HOST and its like) is honoured. No reaper
// container is needed: containers carry the id of the process that started them,
// and each run removes those whose process is gone.
package integration
