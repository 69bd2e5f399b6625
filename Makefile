# What people and CI run. `make` lists the targets.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO        ?= go
TESTFLAGS ?=
BENCH     ?= all
BROKERS   ?= 127.0.0.1:9092

# Modules by their folders. The tools are somebody else's code: they are built and
# kept tidy, not linted.
OURS    := . $(patsubst %/go.mod,%,$(wildcard integration/go.mod bench/go.mod))
MODULES := $(OURS) tools
LINTER  := bin/golangci-lint

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build every package, and the programs into bin/
	$(GO) build ./... ./integration/...
	mkdir -p bin && $(GO) build -o bin/ ./cmd/...

.PHONY: test
test: ## run all tests; those on real Kafka need Docker or DUPLEX_TEST_BROKERS
	$(GO) test $(TESTFLAGS) ./... ./integration/...

.PHONY: race
race: ## the same under the race detector; REQUIRE_KAFKA=1 as in CI
	$(GO) test -race -timeout 40m $(TESTFLAGS) ./... ./integration/...

$(LINTER): tools/go.mod tools/go.sum
	mkdir -p bin
	GOWORK=off $(GO) -C tools build -o ../$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

.PHONY: lint
lint: $(LINTER) ## run the linters that tools/go.mod pins on every module
	for module in $(OURS); do (cd $$module && GOWORK=off $(CURDIR)/$(LINTER) run --config $(CURDIR)/.golangci.yml ./...); done

.PHONY: fmt
fmt: $(LINTER) ## format the code
	for module in $(OURS); do (cd $$module && GOWORK=off $(CURDIR)/$(LINTER) fmt --config $(CURDIR)/.golangci.yml ./...); done

.PHONY: generate
generate: ## write docs/configuration.md from the Config structs, docs/man from help texts, docs/incident.md from what commands print
	$(GO) run ./internal/docgen
	$(GO) run ./internal/docgen/man
	$(GO) test ./internal/app/cli -run TestIncidentIsAsThePageShowsIt -update

.PHONY: tidy
tidy: ## tidy every module
	for module in $(MODULES); do GOWORK=off $(GO) -C $$module mod tidy; done

.PHONY: verify
verify: ## check go.mod files and generated pages, build and vet every module by itself
	for module in $(MODULES); do GOWORK=off $(GO) -C $$module mod tidy -diff; done
	$(GO) run ./internal/docgen -check
	$(GO) run ./internal/docgen/man -check
	for module in $(OURS); do GOWORK=off $(GO) -C $$module build ./... && GOWORK=off $(GO) -C $$module vet ./...; done
	GOWORK=off $(GO) vet -tags synctests ./...

.PHONY: kafka
kafka: ## start a real broker on 127.0.0.1:9092 (docker compose down -v ends it)
	docker compose up -d --wait

.PHONY: bench
bench: ## measure beside raw franz-go: BROKERS=127.0.0.1:9092 BENCH=produce|consume|all
	GOWORK=off $(GO) -C bench run . $(BENCH) -brokers $(BROKERS)

.PHONY: test-bench
test-bench: ## test the benchmark itself
	GOWORK=off $(GO) -C bench test -race ./...

.PHONY: soak
soak: ## memory over 10 million records (BROKERS=…), then groups on three brokers in their long form (Docker)
	GOWORK=off $(GO) -C bench run . memory -brokers $(BROKERS)
	DUPLEX_SOAK=1 REQUIRE_KAFKA=1 $(GO) test -count=1 -timeout 60m ./integration/...

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist
