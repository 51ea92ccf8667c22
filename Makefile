# Everything that a user or a developer does here has a name in this file; `make` alone lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export DEPS ?= $(CURDIR)/.deps
export CARGO_TARGET_DIR ?= $(CURDIR)/target
PYTHON := $(DEPS)/venv/bin/python
# Python finds `tests/harness` as `harness`, from wherever it is used.
export PYTHONPATH := $(CURDIR)/tests
export PYTHONDONTWRITEBYTECODE := 1

PG17 := $(DEPS)/pg17
ON_PG17 := PG_CONFIG=$(PG17)/pg_config LAKE_EXTENSION=$(CARGO_TARGET_DIR)/pg17/debug/libpg_lake_stream_ext.so

.PHONY: help
help: ## List these commands
	@echo "make <command>, where command is one of:"
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /  \1|/' | column -t -s '|'

##### To try it

.PHONY: demo
demo: build ## Start PostgreSQL and pgduck_server with an Iceberg table in it, and leave them running
	@$(PYTHON) scripts/demo.py start

.PHONY: stop
stop: ## End what `make demo` started
	@if [ -x $(PYTHON) ]; then $(PYTHON) scripts/demo.py stop; else echo "The demo is not running."; fi

##### To build

.PHONY: setup
setup: ## Install what building and testing need (Debian packages, libduckdb, Python packages)
	@scripts/setup

.PHONY: build
build: setup ## Compile the server and the extension (profile dev)
	@echo "==> Compiling pgduck_server and the extension (a few minutes the first time)"
	cargo build --workspace --locked

.PHONY: release
release: setup ## Compile the server and the extension, optimised
	@echo "==> Compiling pgduck_server and the extension, optimised (about ten minutes the first time)"
	cargo build --workspace --locked --release

.PHONY: install
install: release ## Put the extension into this machine's PostgreSQL and the server into /usr/local
	@scripts/install

##### To test

.PHONY: test
test: lint unit regress e2e core-regress ## Run all tests
	@echo "==> All tests passed"

.PHONY: lint
lint: setup ## Check formatting, and clippy with warnings denied
	@echo "==> Checking the format of the Rust code"
	cargo fmt --all --check
	@echo "==> Running clippy"
	cargo clippy --workspace --all-targets --locked -- -D warnings

.PHONY: unit
unit: setup ## Run the unit tests of the crates
	@echo "==> Running the unit tests"
	cargo test --workspace --locked

.PHONY: regress
regress: build ## Run the SQL suites under pg_regress/ with PostgreSQL's own pg_regress
	@echo "==> Running the SQL suites"
	@$(PYTHON) scripts/regress.py

.PHONY: e2e
e2e: build ## Run the end-to-end tests under tests/ (ARGS='-k name' to choose)
	@echo "==> Running the end-to-end tests"
	@$(PYTHON) -m pytest tests $(ARGS)

.PHONY: core-regress
core-regress: build ## Run PostgreSQL's own regression suite with and without the library, and compare
	@echo "==> Comparing PostgreSQL's regression suite with and without the library"
	@$(PYTHON) scripts/core_regress.py

.PHONY: test-pg17
test-pg17: build ## Run the SQL suites and the tests of commits on PostgreSQL 17 (ARGS='-k name' to choose tests)
	@echo "==> Compiling the extension for PostgreSQL 17"
	@scripts/setup_pg17
	PGRX_PG_CONFIG_PATH=$(PG17)/pg_config CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/pg17 \
		cargo build --locked -p pg_lake_stream_ext --no-default-features --features pg17
	@echo "==> Running the SQL suites and the tests of commits on PostgreSQL 17"
	@$(ON_PG17) $(PYTHON) scripts/regress.py
	@$(ON_PG17) $(PYTHON) -m pytest tests/test_commit.py $(ARGS)

##### To measure

.PHONY: bench
bench: release ## Run a benchmark: make bench NAME=cdc (or bulk_dml, commit, insert_select)
	@if [ -z "$(NAME)" ]; then echo "make bench NAME=<one of: $(filter-out soak,$(basename $(notdir $(wildcard bench/[a-z]*.py))))>" >&2; exit 1; fi
	@LAKE_PROFILE=release $(PYTHON) bench/$(NAME).py

.PHONY: soak
soak: release ## Writers, readers, VACUUM and an outside reader for MINUTES=10, then check that nothing is lost or left over
	@LAKE_PROFILE=release $(PYTHON) bench/soak.py $(MINUTES)
