# The two commands that matter: `make run` and `make test`. Everything they need goes to .venv and .local.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UV := .local/uv/bin/uv
LOCK := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate

.DEFAULT_GOAL := help
.PHONY: help setup run test check format lock clean

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Install everything into .venv and .local

$(READY): requirements-dev.lock deploy/local/ministack.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@rm -rf $(VENV)
	@echo "== Installing the locked packages into $(VENV)"
	@$(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "Python's venv module is missing; on Debian: apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -c 'from workers.local.aws import prepare; prepare(print)'
	@touch $@

run: $(READY) ## Start everything, pay some demo jobs, keep serving until Ctrl-C (ONCE=1 ends; INCIDENTS=N)
	@$(BIN)/payments demo $(if $(INCIDENTS),--incidents $(INCIDENTS)) $(if $(ONCE),,--serve)

test: $(READY) ## Run the tests (ARGS=... goes to pytest)
	@$(BIN)/python -m pytest $(ARGS)

check: $(READY) ## Format, lint, types, rooms, templates
	@echo "== ruff format"; $(BIN)/ruff format --check --quiet .
	@echo "== ruff check"; $(BIN)/ruff check --quiet .
	@echo "== mypy"; $(BIN)/mypy
	@echo "== pyright"; $(BIN)/pyright
	@echo "== import contracts"; $(BIN)/lint-imports --no-cache >.local/lint-imports.log 2>&1 || \
		{ cat .local/lint-imports.log; exit 1; }
	@echo "== cfn-lint"; $(BIN)/cfn-lint deploy/*.yaml
	@echo "== all checks passed"

format: $(READY) ## Format the code and fix what can be fixed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: ## Resolve the dependencies anew and write the lock files
	@$(PYTHON) -m venv .local/uv && .local/uv/bin/python -m pip install --quiet uv
	@$(LOCK) --upgrade --extra local --group dev pyproject.toml -o requirements-dev.lock
	@$(LOCK) --upgrade -c requirements-dev.lock pyproject.toml -o requirements.lock
	@$(LOCK) --upgrade deploy/local/ministack.in -o deploy/local/ministack.lock

clean: ## Remove everything that was installed, started or cached here
	@rm -rf $(VENV) .local .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
