# Two commands are enough for a start: `make demo` and `make test`. Everything installs itself into .venv.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.ready
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

.PHONY: help setup demo check test test-real test-traefik fuzz golden bench bench-agents bench-cluster bench-instructions docs lock clean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## install everything into .venv (Python 3.11 or newer, make, nothing else)

$(STAMP): requirements/dev.txt requirements/uv.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, $$($(PYTHON) --version) was found: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "setting up .venv ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@$(BIN)/uv pip sync --quiet --require-hashes --python $(BIN)/python requirements/dev.txt
	@$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python --editable .
	@touch $(STAMP)

demo: $(STAMP) ## the gateway before a sample application, with users to try; ends with Ctrl-C
	@$(BIN)/wardgate demo

check: $(STAMP) ## style, types, and which layer may import which
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(STAMP) ## everything that needs Python alone (Envoy is a wheel)
	$(BIN)/pytest -n 2 --dist loadfile --ignore tests/real --ignore tests/traefik

test-real: $(STAMP) ## with real Keycloak, installed and started by tests/parts
	$(BIN)/python -m tests.parts.install
	$(BIN)/pytest tests/real

test-traefik: $(STAMP) ## with a real Traefik, which is built for it (Go 1.26, minutes); not a part of .ci/run
	$(BIN)/python -m tests.parts.install keycloak chromium traefik
	$(BIN)/pytest tests/traefik

fuzz: $(STAMP) ## the differential test for as long as told: make fuzz REQUESTS=200000
	FUZZ_REQUESTS=$(or $(REQUESTS),200000) $(BIN)/pytest tests/differential -k fuzz --timeout 0 -s

golden: $(STAMP) ## rewrite the expected results of golden cases; read the difference as code
	GOLDEN=rewrite $(BIN)/pytest -q tests/golden tests/dialects tests/test_reference.py

PEERS := .cache/bench-peers

$(PEERS)/.ready: requirements/bench.txt
	@$(PYTHON) -m venv $(PEERS)
	@$(BIN)/uv pip sync --quiet --require-hashes --python $(PEERS)/bin/python requirements/bench.txt
	@touch $@

bench: $(STAMP) $(PEERS)/.ready ## speed against a bare Envoy, as ratios measured side by side
	PYTHONPATH=. $(BIN)/python bench/run.py

bench-instructions: $(STAMP) ## instructions that Envoy's worker needs for a request: the same on a busy machine
	PYTHONPATH=. $(BIN)/python bench/instructions.py

bench-cluster: $(STAMP) ## how long a change in a cluster takes, on a real API server
	$(BIN)/python -m tests.parts.install kubernetes
	PYTHONPATH=. $(BIN)/python bench/cluster.py

bench-agents: $(STAMP) ## how fast requests of agents are filed, and how that grows with what is stored
	$(BIN)/python -m tests.parts.install postgres
	PYTHONPATH=. $(BIN)/python bench/agents.py

docs: $(STAMP) ## rewrite docs/reference from the code
	$(BIN)/python -m tests.reference

lock: ## pin dependencies anew, with hashes
	@test -x $(BIN)/uv || { $(PYTHON) -m venv .venv && $(BIN)/python -m pip install --quiet uv; }
	$(BIN)/uv pip compile -q --generate-hashes --no-header --no-emit-index-url --no-annotate pyproject.toml -o requirements/run.txt
	$(BIN)/uv pip compile -q --generate-hashes --no-header --no-emit-index-url --no-annotate --group dev pyproject.toml -o requirements/dev.txt
	$(BIN)/uv pip compile -q --generate-hashes --no-header --no-emit-index-url --no-annotate --group bench -o requirements/bench.txt
	echo uv | $(BIN)/uv pip compile -q --generate-hashes --no-header --no-emit-index-url --no-annotate - -o requirements/uv.txt

clean: ## remove .venv and caches
	rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
