# Everything a newcomer and CI need. `make run` and `make test` work on a machine with Python 3.11+ and nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
WORKERS ?= 3
CONSTRAINED := -c constraints.txt
# Tests start hundreds of processes: each would compile all of its modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run demo example test test-slow check format bench bench-recall store-conformance notebooks clean
.DEFAULT_GOAL := help

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 20

run: $(BIN)/.runtime ## Set up if need be and serve on 127.0.0.1:8000 with embedded engines
	@$(BIN)/hybrid-memory serve

demo: $(BIN)/.runtime ## Show the whole path on a conversation of several weeks, with no network and no service
	@$(BIN)/hybrid-memory demo

example: $(BIN)/.development ## Run the worked agent for a simulated year (some minutes), and draw it
	@$(BIN)/python -m examples.sprint_planner --plot docs/images/sprint-planner.svg

test: $(BIN)/.development ## Run every test but the slow ones
	@$(BIN)/python -m pytest -m "not slow" -n $(WORKERS) --dist worksteal tests/unit tests/conformance tests/integration tests/acceptance

test-slow: $(BIN)/.development ## Run the slow and soak variants
	@$(BIN)/python -m pytest -m slow --timeout 1800 -n $(WORKERS) --dist worksteal

check: $(BIN)/.development ## Format, lint, types, import contracts, migration drift
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q tests/integration/test_migrations.py

format: $(BIN)/.development ## Format and fix what can be fixed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(BIN)/.development ## Measure, each figure beside its floor
	@$(BIN)/python -m benchmarks

bench-recall: $(BIN)/.development ## Measure recall for docs/recall.md: make bench-recall LOCOMO=locomo10.json
	@$(BIN)/hybrid-memory bench locomo "$(LOCOMO)" --ablation --system bm25 --system dense --system rrf60 --system rrf5 \
		--system linear --plot docs/images/recall.svg --markdown docs/recall-figures.md

store-conformance: $(BIN)/.development ## Check LangGraph's stores and ours, for docs/store-conformance.md
	@$(BIN)/python -m benchmarks.store_conformance

notebooks: $(BIN)/.development ## Run the notebooks anew, their outputs in place (some minutes)
	@$(BIN)/python notebooks/execute.py

clean: ## Remove the environment and caches (never the data directory)
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; say PYTHON=/path/to/python3.11 make …")'
	@echo "Creating the environment in $(VENV) …"
	@$(PYTHON) -m venv $(VENV)

$(BIN)/.runtime: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing pinned dependencies (once; some minutes on a slow line) …"
	@$(PIP) install --quiet $(CONSTRAINED) -e '.[all]'
	@touch $@

$(BIN)/.development: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing pinned dependencies with the development extras (once) …"
	@$(PIP) install --quiet $(CONSTRAINED) -e '.[all,dev]'
	@touch $@ $(BIN)/.runtime
