# The only door. `make` lists what there is.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
CARGO ?= cargo
BIN := target/release/tortie

.PHONY: help setup build demo test test-unit test-stock soak fuzz compat manifests check bench dist clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

build: ## build the optimised binary, target/release/tortie
	@tools/setup build
	$(CARGO) build --release --locked --package tortie

demo: build ## bring up the lab and show the three paths, with iptables and with nftables
	@tools/setup run
	$(BIN) lab demo --dataplane iptables
	$(BIN) lab demo --dataplane nftables

test: build ## run every test: unit, kernel, cluster, and on a stock kernel
	@tools/setup build run test routers stock
	@tools/routers >/dev/null
	$(CARGO) test --locked --workspace
	tools/test-stock

test-unit: ## run the tests that need no root: units and whole pure machines, in seconds
	@tools/setup build
	$(CARGO) test --locked --workspace --lib
	$(CARGO) test --locked --package calc --package bgp --tests

test-stock: build ## run the end-to-end tests on a stock Debian kernel with the real ipip module
	@tools/setup build run test routers stock
	tools/test-stock

soak: build ## faults at random for SOAK_SECONDS (600), from SOAK_SEED or a seed that is printed; IPAM in every order; the store under load and beside etcd
	@tools/setup build run test
	TORTIE_IPAM_LONG=1 TORTIE_IPAM_PROGRAMS=10000 $(CARGO) test --locked --package ipam --test ipam interleaving -- --nocapture
	STORE_LOAD_SECONDS=$${SOAK_SECONDS:-600} $(CARGO) test --locked --package store --test durability
	TORTIE_STORES_SECONDS=$${SOAK_SECONDS:-600} $(CARGO) test --locked --package tortie --test stores -- --nocapture
	SOAK_SECONDS=$${SOAK_SECONDS:-600} $(CARGO) test --locked --package tortie --test e2e faults -- --nocapture

fuzz: ## fuzz the readers of what comes from outside, FUZZ_SECONDS (300) each
	@tools/setup build fuzz
	tools/fuzz

compat: ## replay recorded calls: VECTORS=DIR [CASES=cni,calicoctl,felix] [ONLY=010] [TORTIE_BIN=PATH]
	@tools/setup build run test
	@[ -n "$(VECTORS)" ] || { echo "usage: make compat VECTORS=DIR [CASES=cni,calicoctl,felix] [ONLY=010]" >&2; exit 2; }
	@$(if $(TORTIE_BIN),TORTIE_BIN="$(abspath $(TORTIE_BIN))") VECTORS="$(abspath $(VECTORS))" CASES="$(CASES)" ONLY="$(ONLY)" \
	  $(CARGO) test --quiet --locked --package tortie --test compat

manifests: build ## write what is made of the kinds' types: manifests/ and docs/resources.md
	mkdir -p manifests
	$(BIN) crds > manifests/crds.yaml
	$(BIN) crds --group projectcalico.org > manifests/v3-crds.yaml
	$(BIN) crds --format markdown > docs/resources.md

check: ## formatting, lints, documentation, licences, layout
	@tools/setup build check fuzz
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked --manifest-path fuzz/Cargo.toml --target-dir target -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps
	$(CARGO) deny --log-level error check bans licenses sources
	$(CARGO) test --locked --package tortie --test tidy

bench: build ## measure beside its peers, and write docs/benchmarks.md
	@tools/setup build run test bench routers
	tools/bench

dist: ## build the static binary, dist/tortie
	@tools/setup build
	RUSTFLAGS="-C target-feature=+crt-static" $(CARGO) build --release --locked --package tortie --target x86_64-unknown-linux-gnu
	mkdir -p dist
	cp target/x86_64-unknown-linux-gnu/release/tortie dist/tortie

clean: ## remove what was built
	$(CARGO) clean
	rm -rf dist
