# Every target sets up what it needs first (scripts/setup), so `make demo` and `make test` are all one has to know.

CARGO ?= cargo
ROOT := $(filter 0,$(shell id -u))
GREENROOM_LAB_DIR ?= /var/tmp/greenroom-lab
GREENROOM_LAB_CACHE ?= /var/cache/greenroom-lab

# cargo-nextest runs each test in a process of its own and stops one that hangs; `cargo test` does without.
# Without root the reasons for skips are in the output of tests that pass, so show it.
ifneq ($(shell $(CARGO) nextest --version 2>/dev/null),)
TESTS = $(CARGO) test --doc --workspace --locked --quiet && \
	$(CARGO) nextest run --workspace --locked $(if $(ROOT),,--success-output=final)
else
TESTS = $(CARGO) test --workspace --locked -- --test-threads=2 $(if $(ROOT),,--show-output)
endif

.DEFAULT_GOAL := help
.PHONY: help setup build package demo test lint deny bench soak fidelity fuzz clean-lab

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what building and testing need
	@scripts/setup

build: setup ## Build the greenroom binary, optimised, into target/release
	$(CARGO) build --release --locked

package: setup ## Build the Debian package into target/deb (needs root)
	$(CARGO) xtask deb

demo: setup ## Show the main job on a real host that it makes for itself (needs root)
	$(CARGO) xtask demo

test: setup lint ## Check formatting, lints, licences and generated files, then run every test
	$(TESTS)

lint: setup ## The part of test that runs nothing
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked --quiet -- -D warnings
	$(CARGO) xtask gen --check
	@if [ -n "$(CI)" ] || $(CARGO) deny --version >/dev/null 2>&1; then \
		$(MAKE) --no-print-directory deny; \
	else \
		echo "cargo-deny is not installed: 'make deny' installs it (minutes) and checks licences and sources"; \
	fi

deny: ## Install cargo-deny when missing (takes minutes) and check licences, bans and sources
	@$(CARGO) deny --version >/dev/null 2>&1 || $(CARGO) install --locked --quiet cargo-deny
	$(CARGO) deny --locked check --hide-inclusion-graph bans licenses sources

bench: ## Measure against peers, into docs/benchmarks.md (needs root)
	@scripts/setup bench
	$(CARGO) xtask bench

soak: setup ## Interrupt apply and undo at random moments, many times (needs root)
	$(CARGO) xtask soak

fidelity: setup ## Compare rehearse and apply with direct runs for real packages (needs root)
	$(CARGO) xtask fidelity

FUZZ_SECONDS ?= 600
fuzz: setup ## Fuzz every parser of foreign bytes, led by coverage, for FUZZ_SECONDS each (600)
	@$(CARGO) fuzz --version >/dev/null 2>&1 || $(CARGO) install --locked --quiet cargo-fuzz
	@for target in fuzz/fuzz_targets/*.rs; do \
		name=$$(basename $$target .rs); mkdir -p target/fuzz/$$name; \
		$(CARGO) fuzz run --sanitizer none $$name target/fuzz/$$name fuzz/corpus/$$name -- \
			-max_total_time=$(FUZZ_SECONDS) -max_len=16384 -timeout=10 -rss_limit_mb=1024 || exit 1; \
	done

clean-lab: ## Remove the lab's hosts, base roots and package cache
	@if mountpoint -q "$(GREENROOM_LAB_DIR)"; then umount "$(GREENROOM_LAB_DIR)"; fi
	rm -rf --one-file-system "$(GREENROOM_LAB_DIR)" "$(GREENROOM_LAB_CACHE)"
