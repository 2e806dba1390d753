# Tokenward. "make help" lists the targets.
SHELL := /usr/bin/env bash
.DEFAULT_GOAL := help

ARGS ?=
NEWEST := v1.37
OLDEST := v1.33
CHART := charts/tokenward
TESTFLAGS ?= -timeout=40m
# What the image and its tag say; Go's own stamp needs the history, which an image is built without.
# Each is looked up once: a commit while an image is built must not end up in half of it.
ifndef VERSION
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
endif
ifndef REVISION
REVISION := $(shell git rev-parse HEAD 2>/dev/null)
endif

# The directory of the binaries of a version; KUBEBUILDER_ASSETS, where set, is used instead.
assets = $(if $(KUBEBUILDER_ASSETS),$(KUBEBUILDER_ASSETS),$(firstword $(wildcard $(CURDIR)/bin/k8s/$(1).*)))

# The end-to-end tests against a version. One package after the other: two control planes at once would take each other's time.
e2e = KUBEBUILDER_ASSETS=$(call assets,$(1)) go test -p 1 $(2) $(TESTFLAGS) ./test/e2e/...

.PHONY: help
help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-18s %s\n", $$1, $$2}'

.PHONY: build
build: ## Build bin/webhook and bin/kubectl-tokenward
	CGO_ENABLED=0 go build -trimpath -o bin/ ./cmd/...

.PHONY: image
image: bin/image/amd64/webhook bin/image/arm64/webhook ## Write bin/tokenward-image.tar, the image as an OCI archive, and print its digest
	@cd hack/image && go run . --out ../../bin/tokenward-image.tar --version "$(VERSION)" --revision "$(REVISION)" \
		linux/amd64=../../bin/image/amd64/webhook linux/arm64=../../bin/image/arm64/webhook

# The binary of the image, the same wherever the sources are and whoever builds it with the same Go. The Dockerfile builds it by this, too.
bin/image/%/webhook: force
	CGO_ENABLED=0 GOOS=linux GOARCH=$* go build -trimpath -buildvcs=false \
		-ldflags="-s -w -X tokenward.dev/tokenward/pkg/version.version=$(VERSION)" -o $@ ./cmd/webhook

.PHONY: force
force:

.PHONY: run
run: ## Judge the example pods over TLS and serve on; ARGS=--once exits after them
	@# Unoptimised, so that the first run on a new machine takes less time.
	@CGO_ENABLED=0 go build -gcflags='all=-N -l' -ldflags='-s -w' -o bin/examples ./examples && exec bin/examples $(ARGS)

.PHONY: test
test: bin/tools/helm bin/tools/kustomize cluster-newest ## Run all tests, against the newest Kubernetes that is supported
	go test $(TESTFLAGS) $$(go list ./... | grep -v /test/e2e/)
	$(call e2e,$(NEWEST))
	cd test/cluster/$(NEWEST) && go test $(TESTFLAGS) ./...
	cd hack/image && go test $(TESTFLAGS) ./...
	cd test/alerts && go test $(TESTFLAGS) ./...

.PHONY: test-all
test-all: test cluster-oldest ## Run all tests, and those against an API server with the oldest Kubernetes, too
	$(call e2e,$(OLDEST),-count=1)

.PHONY: test-browser
test-browser: ## Click through the audit's page in Chromium, which must be installed
	go test -tags=browser -count=1 $(TESTFLAGS) ./test/browser

SEEDS ?= 1000
FROM ?= 1

.PHONY: sim
sim: ## Simulate replicas, API servers, keys and faults: SEEDS (1000) runs in virtual time (2 minutes)
	go test ./test/sim -count=1 -v -timeout=0 -run '^TestSeeds$$' -seeds $(SEEDS) -from $(FROM)

.PHONY: sim-mutants
sim-mutants: ## Put each defect of test/sim/mutants back and see that the simulator catches it (20 minutes)
	go test ./test/sim -count=1 -v -timeout=0 -run '^TestMutants$$' -mutants

ROTATIONS ?= 200

.PHONY: test-rotations
test-rotations: cluster-newest bin/tools/helm ## Change the signing keys of real API servers ROTATIONS (200) times, of one and of two behind a balancer (30 minutes)
	KUBEBUILDER_ASSETS=$(call assets,$(NEWEST)) ROTATIONS=$(ROTATIONS) go test -count=1 -v -timeout=0 ./test/e2e/tokens -run "^TestRotations|^TestPodsAreCreatedThroughAHardRotation"

.PHONY: verify
verify: bin/tools/golangci-lint verify-chart ## Lint; check that generated files are fresh and that the API takes nothing away
	bin/tools/golangci-lint run ./...
	hack/verify-generated.sh
	hack/verify-api.sh

.PHONY: verify-chart
verify-chart: bin/tools/helm bin/tools/helm-unittest ## Lint the chart and run its unit tests
	bin/tools/helm lint --strict $(CHART)
	bin/tools/helm-unittest $(CHART)

.PHONY: generate
generate: bin/tools/controller-gen ## Write all generated files anew
	bin/tools/controller-gen object crd paths=./pkg/apis/... output:crd:dir=config/crd
	go run ./hack/checkdocs docs/checks
	go run ./hack/makerdocs docs/makers.md
	go run ./hack/clidocs docs/cli
	go run ./hack/casedocs test/cases/compositions docs/compositions.md
	cp config/crd/*.yaml $(CHART)/files/
	go run ./hack/chartdocs $(CHART)

.PHONY: bench
bench: build cluster-newest ## Measure; prints ratios, side by side in one run (7 minutes)
	go build -o bin/bench ./test/bench
	KUBEBUILDER_ASSETS=$(call assets,$(NEWEST)) bin/bench $(ARGS)
	go test ./pkg/survey -run '^$$' -bench Judgement -cpu 1 -benchtime 100000x

.PHONY: fuzz
fuzz: ## Fuzz every parser of untrusted input, FUZZTIME (10m) each
	hack/fuzz.sh $(or $(FUZZTIME),10m)

.PHONY: cluster-binaries cluster-newest cluster-oldest
cluster-binaries: cluster-newest cluster-oldest ## Build etcd, kube-apiserver and kube-controller-manager of both versions under test
cluster-newest:
	$(if $(KUBEBUILDER_ASSETS),@:,test/cluster/build.sh $(NEWEST))
cluster-oldest:
	$(if $(KUBEBUILDER_ASSETS),@:,test/cluster/build.sh $(OLDEST))

# Linters and generators are pinned by the Go module in tools/, and those for the
# chart by one of their own, since they need other versions of the same libraries.
bin/tools/helm bin/tools/helm-unittest bin/tools/kustomize: bin/tools/%: tools/helm/go.mod tools/helm/go.sum
	@mkdir -p bin/tools
	cd tools/helm && go build -o ../../bin/tools/ $$(go list -f '{{.ImportPath}}' tool | grep -E '/$*(/v[0-9]+)?$$')
	@touch $@

bin/tools/%: tools/go.mod tools/go.sum
	@mkdir -p bin/tools
	cd tools && go build -o ../bin/tools/ $$(go list -f '{{.ImportPath}}' tool | grep '/$*$$')
	@touch $@
