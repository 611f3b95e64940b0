.DEFAULT_GOAL := help
TOOL := go tool -modfile=tools/go.mod

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build worker, enqueue and millhand into bin/
	go build -o bin/ ./cmd/...

.PHONY: test
test: ## Run every test
	go test ./...

.PHONY: race
race: ## Run the quick tests with the race detector, in random order
	go test -race -shuffle=on -short ./...

.PHONY: lint
lint: ## Run the pinned golangci-lint
	$(TOOL) golangci-lint run

.PHONY: integration
integration: ## Run the tests on real processes, with the race detector
	go test -race ./test/integration/...

.PHONY: peers
peers: ## Measure package flow beside others that do the same work
	cd bench/peers && go test . -run '^$$' -bench . -benchtime 3x -count 7

.PHONY: alerts
alerts: ## Test the alerts and the Grafana board with Prometheus' own engine
	cd test/alerts && go test -count=1 ./...

.PHONY: demo
demo: ## Watch sample jobs of every kind, on a broker of its own
	go run ./cmd/worker demo

.PHONY: bench
bench: ## Measure against plain JetStream, all of it (half an hour); see bench/doc.go
	go run ./bench

.PHONY: benchquick
benchquick: ## Check the measuring itself, and soak for a minute
	go run ./bench -quick
	go run ./bench -soak -for 1m

.PHONY: soak
soak: ## Run mixed load for 20 minutes, with workers that are killed
	go run ./bench -soak

.PHONY: microbench
microbench: ## Run the benchmarks of single parts
	go test -run '^$$' -bench . -benchmem ./...

.PHONY: benchstat
benchstat: ## Compare the hot path with its recorded baseline; RECORD=1 records a new one
	@mkdir -p bin
	go test -run '^$$' -bench . -benchmem -count 6 -benchtime 0.3s . ./internal/queue > bin/bench.txt || { cat bin/bench.txt; exit 1; }
	$(TOOL) benchstat testdata/bench/baseline.txt bin/bench.txt
	@if [ -n "$(RECORD)" ]; then cp bin/bench.txt testdata/bench/baseline.txt; fi

.PHONY: ci
ci: ## Run all that a change must pass
	.ci/run
