# Every target sets up what it needs: on a fresh clone `make demo` or `make test` is the only command to type.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BIN := .venv/bin
# More workers than the two cores: many tests wait for processes and sockets. loadfile lets each test file compile its
# own kernels once.
PYTEST_ARGS ?= -n 3 --dist loadfile --durations=40 --durations-min=10
BENCH ?=
LOCK := compile --quiet --universal --python-version 3.13 --generate-hashes --no-emit-index-url --no-emit-find-links

.PHONY: help setup demo test lint format bench bench-setup lab lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Make .venv: Python 3.13 with exactly the packages of requirements.lock, and quantai itself
	@scripts/setup

demo: setup ## Record, research, replay, trade and serve at an exchange on this machine; writes out/demo.html
	@$(BIN)/python -m scripts.demo

test: lint ## Check everything: lint, then all tests with coverage
	$(BIN)/pytest $(PYTEST_ARGS) tests quantai --cov --cov-report=term
	$(BIN)/pytest $(PYTEST_ARGS) notebooks

lint: setup ## ruff, pyright and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo

format: setup ## Format the code and apply the safe fixes
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: setup ## Run the benchmarks, or only those of BENCH="coldstart bars"; one JSON line each
	@$(BIN)/python -m tests.bench $(BENCH)

bench-setup: setup ## Make .venv-bench: the peers that the benchmarks compare with
	@scripts/setup bench

lab: setup ## Open the notebooks in JupyterLab
	$(BIN)/jupyter lab --notebook-dir=notebooks

lock: setup ## Resolve the dependencies of pyproject.toml again, into the two lock files
	$(BIN)/uv pip $(LOCK) --all-extras pyproject.toml -o requirements.lock
	$(BIN)/uv pip $(LOCK) --group bench -o requirements-bench.lock

clean: ## Remove what setup, tests and demo made
	rm -rf .venv .venv-bench .uv out .pytest_cache .ruff_cache .hypothesis .coverage .coverage.*
