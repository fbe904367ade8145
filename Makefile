# Rolecast from a checkout. `make up` is all that a first run needs; `make help` lists the rest.
# Needs: make, a shell, and Python 3.11 or newer with venv. Works with GNU make 3.81 (macOS) and later.

SHELL := /bin/sh
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet
# Options for `rolecast up`, `pytest` or the benchmark: make up ARGS="--port 8010"
ARGS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help up install avatars test check fix bench train-router bench-routing bench-avatar bench-fleet bench-storm \
  prices docs clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /|/' | awk -F'|' '{printf "  make %-13s %s\n", $$1, $$2}'

up: .venv/installed ## Install what is missing, then start the gateway (make up ARGS="--detach")
	@exec $(BIN)/rolecast up $(ARGS)

install: .venv/installed ## Only install, into .venv

avatars: .venv/installed-avatars ## Install what avatars are made with: PyTorch and what is around it

# Tests mostly wait, for servers and clocks: three at a time keep two cores busy. In the order in which they are found:
# the files with few tests, which take longest, come first.
# A machine that stalls fails a test now and then: what fails is run once more, and is shown whole if it passes then.
# Compiled files are written whatever the environment says: the tests start some hundred short-lived programs.
test: .venv/installed-dev ## Run all tests (make test ARGS="-k queue")
	@PYTHONDONTWRITEBYTECODE= exec $(BIN)/python -m pytest -n 3 --no-loadscope-reorder --reruns 1 $(ARGS)

check: .venv/installed-dev ## Formatting, lint, types, import layers; changes nothing
	@echo "Checking the formatting."
	@$(BIN)/ruff format --check --quiet . || { echo "Some files are not formatted; run: make fix" >&2; exit 1; }
	@echo "Checking the style."
	@$(BIN)/ruff check --quiet .
	@echo "Checking the types."
	@$(BIN)/mypy
	@echo "Checking the import layers."
	@$(BIN)/lint-imports

fix: .venv/installed-dev ## Format, mend what the linter can, rewrite the generated pages
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .
	@$(BIN)/python docs/generate.py
	@echo "Formatted."

bench: .venv/installed-bench ## Compare with other gateways, side by side (make bench ARGS=--quick)
	@exec $(BIN)/python bench/run.py $(ARGS)

train-router: .venv/installed-router ## Build the learned router's model file again from its data, and report on it
	@exec $(BIN)/python training/router/train.py $(ARGS)

bench-routing: .venv/installed-router ## Measure the learned router (make bench-routing ARGS="--json")
	@exec $(BIN)/python training/router/bench.py $(ARGS)

bench-avatar: .venv/installed-dev ## Measure training beside a plain Hugging Face Trainer (make bench-avatar ARGS=--quick)
	@exec $(BIN)/python bench/avatar.py $(ARGS)

bench-storm: .venv/installed-dev ## Six models in the memory of three, 32 clients, a worker killed every second: what gets lost
	@exec $(BIN)/python bench/fleet_storm.py $(ARGS)
bench-fleet: .venv/installed ## Replay traces of many models against other policies (make bench-fleet ARGS=--json)
	@exec $(BIN)/python bench/fleet.py $(ARGS)

prices: .venv/installed-prices ## Renew the price list of cloud models from the package genai-prices
	@exec $(BIN)/python training/prices.py

docs: .venv/installed-docs ## Build the documentation into site/
	@$(BIN)/python docs/generate.py
	@$(BIN)/zensical build
	@echo "The documentation is in site/index.html."

clean: ## Remove the environment and everything built
	@rm -rf .venv site dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .coverage htmlcov
	@find src tests docs -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
	@echo "Removed .venv and everything built. Weights and the ledger stay where they are."

# A version manager may leave a command that does not run, so each candidate is tried, not just found.
.venv/bin/python:
	@for python in $${PYTHON:-python3.13 python3.12 python3.11 python3 python}; do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "Rolecast needs Python 3.11 or newer and found none. Install it (Debian, Ubuntu: sudo apt-get install python3 python3-venv; macOS: brew install python), or name yours: make up PYTHON=/path/to/python3" >&2; exit 1; \
	fi; \
	if ! "$$found" -c 'import ensurepip, venv' >/dev/null 2>&1; then \
	  echo "$$found has no venv module. Install it (Debian, Ubuntu: sudo apt-get install python3-venv), then run make again." >&2; exit 1; \
	fi; \
	echo "Making an environment in .venv with $$("$$found" --version)."; \
	"$$found" -m venv --clear .venv

# Installed editable, so that a checkout runs its own source; again when dependencies or the version change.
.venv/installed: .venv/bin/python pyproject.toml src/rolecast/__init__.py
	@echo "Installing Rolecast and the llama.cpp engine into .venv; the first time takes about a minute."
	@$(PIP) install --editable '.[llamacpp]' || { echo "The installation failed: pip says why above. Mend that and run make again." >&2; exit 1; }
	@touch $@

.venv/installed-dev: .venv/installed
	@echo "Installing the tools for tests and checks."
	@$(PIP) install --upgrade 'pip>=25.1'
	@$(PIP) install --editable '.[llamacpp,tasks,avatars,graph,mlx]' --group dev
	@touch $@

.venv/installed-avatars: .venv/installed
	@echo "Installing what avatars are made with; PyTorch is large: this takes some minutes."
	@$(PIP) install --editable '.[llamacpp,avatars,graph]'
	@touch $@

.venv/installed-bench: .venv/installed
	@echo "Installing the tools for the benchmark."
	@$(PIP) install --upgrade 'pip>=25.1'
	@$(PIP) install --group bench
	@touch $@

.venv/installed-router: .venv/installed
	@echo "Installing the tools that train the router."
	@$(PIP) install --upgrade 'pip>=25.1'
	@$(PIP) install --group router
	@touch $@

.venv/installed-prices: .venv/installed
	@echo "Installing the package with the prices."
	@$(PIP) install --upgrade 'pip>=25.1'
	@$(PIP) install --group prices
	@touch $@

.venv/installed-docs: .venv/installed
	@echo "Installing the tools for the documentation."
	@$(PIP) install --upgrade 'pip>=25.1'
	@$(PIP) install --group docs
	@touch $@
