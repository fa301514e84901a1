SHELL      := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# The program is built without cgo, so all that needs no cgo is: the packages are then compiled once for it, the tools,
# the linters and the tests. The race detector needs cgo, and a second compilation.
export CGO_ENABLED := 0
# For one package; the longest ones kill and restart the service on every store, under the race detector: minutes, and
# several times as many on a busy machine. It ends what is stuck, and judges nothing.
TIMEOUT ?= 45m
# The packages of the tests, those first that take longest: the others then run beside them, and not before.
TESTS := ./adapter/gormstore ./test/e2e ./test/system/httpfuzz ./adapter/httpapi ./adapter/verify \
	./usecase ./cmd/run ./test/documents ./test/system/soak ./test/system/integrating ./...
# The race detector checks accesses to the memory of Go. SQLite is C translated to Go: its heap is not Go's, so the
# detector ignores it, and would still call a function for each access. The driver and all that uses it are checked.
# Libraries that compute on memory of their own are not: scrypt, and those that compare a response with a schema.
RACE := -race $(foreach package,modernc.org/sqlite/lib modernc.org/libc golang.org/x/crypto \
	github.com/getkin/kin-openapi github.com/santhosh-tekuri/jsonschema,'-gcflags=$(package)/...=-race=false')
# Packages whose tests run without the race detector: they drive processes of the service, which the detector would not
# check, send it one request after another, read source text, or show that the tests of stores find faults. They run
# beside the others, one after the other.
UNRACED := ./test/e2e ./test/system/httpfuzz ./test/documents ./test/system/soak ./test/system/integrating \
	./test/storagetest ./test/system/prove ./test/arch ./test/arch/words
# Tests that run beside the others, without the race detector. The first two run TestConformance/postgres of gormstore
# again, with the same Go code, as another role or through a pooler. The others have one goroutine, and many steps. A
# name that no test has leaves no test out.
AGAIN := TestConformanceBehindPgBouncer|TestPostgresARoleThatOwnsNothingServesWithTheGrantsOfTheDocument
ALONE := TestNoSessionIsTakenForAnother|TestMemoryOfASession|TestAFrameIsBounded
APART := ^($(AGAIN)|$(ALONE))$$

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build the static binary ./refreshd
	$(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o refreshd ./cmd/refreshd

MANPAGES ?= .man
.PHONY: man
man: ## write man pages (MANPAGES=.man)
	$(GO) run -ldflags '-X main.version=$(VERSION)' ./cmd/refreshd man '$(MANPAGES)'

.PHONY: test
test: race-detector ## run every test, on every store; provides itself with PostgreSQL; about 10 minutes on two cores
	@echo 'Every test, on every store, Go code under the race detector: 15 minutes on two cores (make test-short: 2)'
	@$(GO) run ./test/support/postgres/ensure
	@$(GO) run ./test/support/progress $(RACE) -skip='$(APART)' -shuffle=on -timeout=$(TIMEOUT) $(TESTFLAGS) \
		$(filter-out $(UNRACED),$(TESTS:./...=)) $$($(GO) list ./... | grep -vxF "$$($(GO) list $(UNRACED))") \
		-and -p=1 -shuffle=on -timeout=$(TIMEOUT) $(TESTFLAGS) $(UNRACED) \
		-and -run='$(APART)' -shuffle=on -timeout=$(TIMEOUT) $(TESTFLAGS) ./adapter/gormstore ./adapter/verify

.PHONY: test-short
test-short: ## run the tests that need only Go, without the race detector; two minutes on two cores
	@echo 'Tests on memory and SQLite, without the race detector: two minutes on two cores, once they are built'
	@$(GO) run ./test/support/progress -short -shuffle=on -timeout=$(TIMEOUT) $(TESTFLAGS) $(TESTS)

.PHONY: e2e
e2e: ## drive the real binary on every store, and print what it shows
	@$(GO) run ./test/support/postgres/ensure
	$(GO) test -v -count=1 -timeout=$(TIMEOUT) ./test/e2e

.PHONY: storms
storms: ## 50 tabs on one session for 32 s, 3 000 logins in bursts on PostgreSQL, 600 on SQLite; print the figures
	@$(GO) run ./test/support/postgres/ensure
	@cd test/e2e && E2E_STORMS=1 $(GO) test -count=1 -timeout=$(TIMEOUT) -run '^(TestFiftyTabs|TestLogins)'

# PG=15 uses that version. If it is missing it is installed, or fetched once with npm (test/support/postgres).
PG ?= 18
.PHONY: test-postgres
test-postgres: ## run the tests of the PostgreSQL store and of the binary on a version (PG=18), and print it
	@TEST_POSTGRES_VERSION='$(PG)' $(GO) run ./test/support/postgres/ensure
	TEST_POSTGRES_VERSION='$(PG)' $(GO) test -count=1 -timeout=$(TIMEOUT) $(TESTFLAGS) \
		./test/e2e ./adapter/gormstore ./test/support/postgres

# How many power cuts to try: make powerloss POINTS=5000
.PHONY: powerloss
powerloss: ## cut the power of the service on SQLite at hundreds of moments (POINTS=500), and make its disk fail
	POWERLOSS_POINTS='$(or $(POINTS),500)' $(GO) test -v -count=1 -timeout=60m ./test/e2e \
		-run '^(TestAPowerCut|TestAFirstStart|TestAFullDisk|TestAReadOnly|TestADatabaseThat|TestALocked|TestADamaged|TestAServiceWhose)'

.PHONY: failover
failover: ## kill the database, restart and upgrade the service, put PgBouncer in front: under load, with figures
	@$(GO) run ./test/support/postgres/ensure
	$(GO) test -v -count=1 -timeout=$(TIMEOUT) -run 'FailOver|PgBouncer|Rolling' ./test/e2e
	$(GO) test -v -count=1 -timeout=$(TIMEOUT) -run 'FailOver|Vanishes|PgBouncer|Pooler' ./adapter/gormstore

# make prove FOR=1h MUTANTS= SEED=7; a history that is wrong is kept in .prove: go run ./test/system/prove -replay FILE
# REACH is how long the rounds with resource servers take, KEYS those in which keys change, PART which of both
# (go run ./test/system/prove -help): make prove FOR=0s KEYS=10m PART=keys MUTANTS=
FOR     ?= 10m
REACH   ?= $(FOR)
KEYS    ?= $(REACH)
PART    ?=
MUTANTS ?= all
SEED    ?= 0
.PHONY: prove
prove: ## check each refresh token while machines die and networks lie (FOR=10m), and find broken services (MUTANTS=all)
	@$(GO) run ./test/support/postgres/ensure
	@$(GO) run ./test/system/prove -for='$(FOR)' -reach='$(REACH)' -keys='$(KEYS)' -part='$(PART)' \
		-mutants='$(MUTANTS)' -seed='$(SEED)'

.PHONY: test-full
test-full: ## run every test twice, nothing from the test cache
	@$(MAKE) --no-print-directory test TESTFLAGS='$(TESTFLAGS) -count=2' TIMEOUT=90m

# A tag adds files and leaves none out, so one run with all tags reads every file.
TAGS := integrating
.PHONY: lint
lint: ## gofmt, go vet, staticcheck, the analyzers of .ci/lint, make words, and whether generated code is fresh
	@files=$$(gofmt -l .); [ -z "$$files" ] || { echo "not gofmt'ed:"; echo "$$files"; exit 1; }
	$(GO) vet -tags=$(TAGS) ./...
	$(GO) tool staticcheck -tags=$(TAGS) ./...
	$(GO) -C .ci/lint build -o lint .
	$(GO) vet -tags=$(TAGS) -vettool=.ci/lint/lint ./...
	@$(MAKE) --no-print-directory words
	@state() { git diff; git status --porcelain; }; before=$$(state | git hash-object --stdin); $(GO) generate ./...; \
	[ "$$before" = "$$(state | git hash-object --stdin)" ] || \
		{ git --no-pager diff --stat; echo 'go generate changed files: commit what it made'; exit 1; }

# One folder: make words DIR=domain; SUMMARY=1 prints the counts by folder only. The list is test/arch/words/list.txt.
.PHONY: words
words: ## find phrases that have a plain form, and lines of more than 120 columns (DIR=folder; SUMMARY=1)
	@$(GO) run ./test/arch/words $(if $(SUMMARY),-summary) $(DIR)

.PHONY: graph
graph: ## print the import graph, put it into ARCHITECTURE.md, and refuse an import that points upward
	@$(GO) run ./test/arch/graph -w ARCHITECTURE.md

.PHONY: docs
docs: ## write CONFIGURATION.md from the code
	@$(GO) generate ./test/documents/...

.PHONY: generate
generate: ## make the generated code again
	$(GO) generate ./...

# make bench QUICK=1, make bench PART=exchange,sqlite; FULL=1 takes an hour. `go run ./test/system/bench -help` lists
# the parts.
# make bench PART=reach: how soon resource servers refuse a revoked session, and what the stream costs.
# make bench PART=admin: lists of an operator among 5 million sessions, and the deletion of a tenant with a million.
# make bench PART=keys: key sets, memory, rotation and lists of 100 000 tenants with signing keys of their own.
# make bench BASE=COMMIT PART=exchange,cost,revocations ROUNDS=10: that commit's program beside this one, in one run.
OUT ?= bench.md
.PHONY: bench
bench: ## measure the service against its limits, ten minutes (QUICK=1: three; PART=name; BASE=commit; OUT=bench.md)
	@$(GO) run ./test/system/bench -version='$(VERSION)' -out='$(OUT)' $(if $(QUICK),-quick) $(if $(FULL),-full) \
		$(if $(PART),-part='$(PART)') $(if $(BASE),-base='$(BASE)') $(if $(ROUNDS),-rounds='$(ROUNDS)')

# make soak MINUTES=3, make soak DATABASE=sqlite; `go run ./test/system/soak -help` lists the flags.
MINUTES ?= 30
DATABASE ?= postgres
.PHONY: soak
soak: ## run two processes under load for half an hour: does anything grow, is all stored (MINUTES=30; DATABASE=sqlite)
	@$(GO) run ./test/system/soak -version='$(VERSION)' -minutes='$(MINUTES)' -database='$(DATABASE)'

# FUZZTIME is for each fuzzer. Those below one folder: make fuzz FUZZTIME=10m DIR=domain
FUZZTIME ?= 30s
.PHONY: fuzz
fuzz: ## run one fuzzer after another (FUZZTIME=30s each, DIR=domain), and print how many inputs each tried
	@$(GO) run ./test/system/fuzz -fuzztime='$(FUZZTIME)' $(DIR)

.PHONY: httpfuzz
httpfuzz: ## make requests out of openapi.yaml and hold every answer to it (HTTPFUZZ='-for=10m -seed=1')
	@$(GO) run ./test/system/httpfuzz $(HTTPFUZZ)

# make interop PART=generators; make interop PART=clients CLIENT=jose,PyJWT runs those, and leaves the table alone.
# Installs Chromium where there is none.
.PHONY: interop
interop: ## run clients of openapi.yaml, and OAuth and JWT libraries: the table of INTEGRATING.md (network, npm, pip)
	@$(GO) run ./test/system/interop $(if $(PART),-part='$(PART)') $(if $(CLIENT),-client='$(CLIENT)')

# make attack QUICK=1, make attack PART=aborted,row; `go run ./test/system/attack -help` lists the parts.
# make attack BASE=COMMIT PART=fair: that commit's program beside this one, in the same run.
.PHONY: attack
attack: ## attack the service, and hold what its honest users get meanwhile to targets (QUICK=1; PART=name; BASE=commit)
	@$(GO) run ./test/support/postgres/ensure
	@$(GO) run ./test/system/attack -version='$(VERSION)' $(if $(QUICK),-quick) $(if $(PART),-part='$(PART)') \
		$(if $(BASE),-base='$(BASE)')

# make browser PART=pairs,storm; make browser PART=docs SHOTS=dir leaves pictures of /docs.
# `go run ./test/system/browser -help` lists the parts. Installs Chromium where there is none.
.PHONY: browser
browser: ## hold the rules for cookies to what Chromium does with them (PART=name); about three minutes
	@$(GO) run ./test/system/browser -version='$(VERSION)' $(if $(PART),-part='$(PART)') \
		$(if $(SHOTS),-shots='$(SHOTS)')

.PHONY: integrating
integrating: ## run the code of INTEGRATING.md in all its languages; needs Node 20 and the npm registry (350 MB)
	$(GO) vet -tags integrating ./test/system/integrating
	$(GO) test -tags integrating -v -count=1 -timeout=$(TIMEOUT) ./test/system/integrating

.PHONY: overload
overload: ## offer the service three times what it can do, for a minute and a half
	@$(GO) run ./test/system/bench -version='$(VERSION)' -out= -part=overload

PROFILES ?= .profiles
.PHONY: profile
profile: ## leave CPU and allocation profiles of the service under load (PROFILES=.profiles), and print the top of each
	@$(GO) run ./test/system/bench -version='$(VERSION)' -profile='$(PROFILES)'

# A pattern, a count and the like: make gobench BENCHFLAGS='-count=10' BENCH=Sign
BENCH ?= .
.PHONY: gobench
gobench: ## run the Go benchmarks beside the code (BENCH=pattern, BENCHFLAGS=-count=10)
	@$(GO) run ./test/support/postgres/ensure
	@packages=$$(grep -rl --include='*_test.go' '^func Benchmark' . | xargs -r -n 1 dirname | sort -u); \
	[ -n "$$packages" ] || { echo 'no benchmarks'; exit 1; }; \
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -timeout=30m $(BENCHFLAGS) $$packages

.PHONY: simulate
simulate: ## print who is logged out, how soon a thief is caught, which states a refresh token can reach: some minutes
	$(GO) test -count=1 -timeout=$(TIMEOUT) -v ./domain \
		-run '^(TestAllReachableStates|TestOneClockFarOff|TestSimulation)$$' -args -simulate \
		| grep -v -e '^=== ' -e '^--- PASS'

.PHONY: vuln
vuln: ## look for known vulnerabilities in what the program calls; needs the network
	$(GO) tool govulncheck ./...

.PHONY: clean
clean: ## remove what build made
	rm -f refreshd

.PHONY: race-detector
race-detector:
	@command -v "$$($(GO) env CC)" >/dev/null || \
		{ echo 'the race detector needs a C compiler:' \
			'install gcc (Debian, Ubuntu: apt-get install gcc libc6-dev)'; exit 1; }
