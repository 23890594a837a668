# Roadcall Payments. `make` alone lists what there is to do.

PYTHON ?= python3
BIN    := .venv/bin
READY  := .venv/.ready

# The oldest Postgres that the service runs on, where Debian puts it.
POSTGRES_15_BIN ?= /usr/lib/postgresql/15/bin

# A test that waits for Postgres leaves a core idle. Many at once would outwait the tests that wait for something.
SIDE_BY_SIDE := -n 2

.DEFAULT_GOAL := help
.PHONY: help setup run observe screenshots test test-long test-postgres-15 drills storm payouts contention sweep fuzz mutations bench bench-scale bench-latency bench-memory check format golden lock clean
.NOTPARALLEL:

# A heading before each step, so that a failure says where it belongs.
step = printf '\n== %s\n' '$(1)'

# A virtual environment knows its own path: one that was copied along with the checkout is set up again.
ifneq ($(shell cat $(READY) 2>/dev/null),$(CURDIR))
.PHONY: $(READY)
endif

$(READY): pyproject.toml requirements-dev.lock deploy/local/ministack.lock deploy/local/setup.sh
	@PYTHON='$(PYTHON)' sh deploy/local/setup.sh

help: ## List these targets
	@awk 'BEGIN { FS = ":.*## "; print "Usage: make <target>\n" } \
	     /^[a-z0-9-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' Makefile

setup: $(READY) ## Create .venv and the local AWS's own environment (costs nothing once done)
	@echo 'Set up: $(BIN)/payments --help shows what there is.'

run: $(READY) ## Run the demo and keep serving until Ctrl-C; ONCE=1 ends after the summary, INCIDENTS=N sets its size
	@trap : INT; $(BIN)/payments demo $(if $(INCIDENTS),--incidents $(INCIDENTS)) $(if $(ONCE),,--serve)

observe: $(READY) ## Run everything with a real Prometheus (Debian's package prometheus) beside it; ONCE=1 ends after the summary
	@trap : INT; $(BIN)/payments observe $(if $(INCIDENTS),--incidents $(INCIDENTS)) $(if $(ONCE),--once)

screenshots: $(READY) ## Take the pictures of the status page and the console anew (Debian's packages chromium and prometheus)
	@SCREENSHOTS=deploy/observability/screenshots $(BIN)/python -m pytest -m long tests/browser/test_demo.py $(ARGS)

test: $(READY) ## Run the tests in two processes; ARGS is handed to pytest, as in make test ARGS='-k audit -x' (-n 0 for a debugger)
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(ARGS)

test-long: $(READY) ## Run the tests that take their time: local servers beside the model of SQS, whole stacks, a browser, a real Prometheus (15 minutes)
	@$(BIN)/python -m pytest -m long $(ARGS)

test-postgres-15: $(READY) ## Run the tests of store, handlers and journey on Postgres 15; POSTGRES_15_BIN=DIR names its programs
	@case "$$('$(POSTGRES_15_BIN)/postgres' --version 2>&1)" in \
	    'postgres (PostgreSQL) 15.'*) ;; \
	    *) echo 'There is no Postgres 15 in $(POSTGRES_15_BIN). Install it (Debian: apt-get install postgresql-15), or' \
	        'name the folder of its programs: make test-postgres-15 POSTGRES_15_BIN=DIR' >&2; exit 1 ;; \
	esac
	@PAYMENTS_POSTGRES_BIN='$(POSTGRES_15_BIN)' $(BIN)/python -m pytest $(SIDE_BY_SIDE) \
	    tests/store tests/handlers tests/journey $(ARGS)

drills: $(READY) ## Kill and stop a real fleet, take Postgres and the provider away, send a backlog (15 minutes); DRILLS=short takes 5
	@DRILLS='$(or $(DRILLS),full)' $(BIN)/python -m pytest -m drill -s tests/drills $(ARGS)

storm: $(READY) ## Blow every fault at once over a real fleet; SEED=N, MESSAGES=N and MINUTES=N (10), then an independent audit
	@$(BIN)/python -m tests.storm $(if $(SEED),--seed $(SEED)) $(if $(MESSAGES),--messages $(MESSAGES)) \
	    $(if $(MINUTES),--minutes $(MINUTES)) $(ARGS)

payouts: $(READY) ## Pay PAYMENTS=N (10,000) at a provider that fails in every way, with workers killed throughout; SEED=N
	@$(BIN)/python -m tests.payouts $(if $(SEED),--seed $(SEED)) $(if $(PAYMENTS),--payments $(PAYMENTS)) $(ARGS)

contention: $(READY) ## Let eight workers decide about one payment with 200 commands at once, RUNS times (50); SEED=N mixes them again
	@CONTENTION_RUNS='$(or $(RUNS),50)' $(if $(SEED),CONTENTION_SEED='$(SEED)') $(BIN)/python -m pytest -m long tests/contention $(ARGS)

sweep: $(READY) ## Kill a process at every step to the outside, restart it, audit (5 minutes)
	@$(BIN)/python -m pytest -m sweep -v tests/sweep $(ARGS)

fuzz: $(READY) ## Feed hostile bodies to parser, decisions and the real queue; MINUTES=N, SEED=N, ARGS for more
	@$(BIN)/python -m tests.fuzz $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES)) $(ARGS)

mutations: $(READY) ## Break the code on purpose, one guarantee at a time, and show which test notices (2 minutes)
	@$(BIN)/python -m tests.mutations $(ARGS)

bench = $(BIN)/python -m tests.bench $(1) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(MESSAGES),--messages $(MESSAGES)) \
    $(if $(SHORT),--short) $(ARGS)

bench: $(READY) ## Measure ours beside three rivals and the ceiling, on loopback and as deployed (35 minutes); ROUNDS=N (5), SHORT=1 takes 2
	@$(call bench,throughput)

bench-scale: $(READY) ## Measure ours with 1,000 to 1,000,000 payments in the tables, more processes, more threads (20 minutes); ROUNDS=N (3), SHORT=1
	@$(call bench,scale)

bench-latency: $(READY) ## Send MESSAGES=N (200) one at a time through an idle fleet: send, commit, event at the sink (3 minutes); SHORT=1
	@$(call bench,latency)

bench-memory: $(READY) ## Send MESSAGES=N (200,000) through one worker and watch its memory (10 minutes); SHORT=1
	@$(call bench,memory)

check: $(READY) ## Format, lint, types, import contracts and templates; stops at the first that fails
	@$(call step,ruff format)
	@$(BIN)/ruff format --check .
	@$(call step,ruff check)
	@$(BIN)/ruff check .
	@$(call step,mypy)
	@$(BIN)/mypy
	@$(call step,pyright)
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright
	@$(call step,lint-imports)
	@$(BIN)/lint-imports --no-logo
	@$(call step,observability)
	@$(BIN)/python -m deploy.observability.write --check && echo 'Rules and dashboards are what the catalogue makes of them.'
	@$(call step,cfn-lint)
	@templates=$$(grep -l '^AWSTemplateFormatVersion' deploy/*.yaml) \
	    || { echo 'deploy/ holds no CloudFormation template.'; exit 1; }; \
	    $(BIN)/cfn-lint $$templates && echo "$$templates: in order"

format: $(READY) ## Format the code and repair what ruff can repair
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

golden: $(READY) ## Write the generated goldens anew, then read the diff
	@$(BIN)/python -m tests.contracts.regenerate
	@$(BIN)/python -m tests.store.regenerate_schema
	@$(BIN)/python -m deploy.observability.write
	@echo 'Written. Read the diff before you commit: each line of it is a change of what we promised.'

lock: ## Compile the lock files from pyproject.toml and ministack.in; UPGRADE=1 takes the newest releases
	@PYTHON='$(PYTHON)' UPGRADE='$(UPGRADE)' sh deploy/local/lock.sh

clean: ## Remove .venv, .local (the local stack's data) and every cache
	@sh deploy/local/clean.sh
