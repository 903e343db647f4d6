# Everything a person does with this tree. Each target sets up what it needs; a second run sets up nothing.
#
#   PYTHON=...        the interpreter to build .venv with (3.11 or newer)
#   ARGS="..."        more arguments for the command behind a target: make demo ARGS=--help
#   TEST_JOBS=N       test processes (0: one, in the foreground); what starts real processes stays together on one
#   PYTEST_ARGS="..." more arguments for pytest: make test PYTEST_ARGS="tests/core -k quorum"

SHELL := /bin/bash
.DEFAULT_GOAL := help

BIN := .venv/bin
IMAGE ?= hvcluster:dev
TEST_JOBS ?= 2
PYTEST_ARGS ?=
ARGS ?=
export PYTHON

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup setup-dev
setup: ## Make .venv ready to run hvcluster
	@tools/setup.sh run

setup-dev: ## Make .venv ready to test and change hvcluster
	@tools/setup.sh dev

.PHONY: demo
demo: setup ## Watch a VM survive the kill of its host
	@$(BIN)/hvc demo $(ARGS)

.PHONY: sim
sim: setup ## Run the cores in the simulator: make sim ARGS="explore --seeds 100"
	@$(BIN)/hvc sim $(ARGS)

.PHONY: campaign
campaign: setup ## 20,000 seeds, another lab for each; goes on where it stopped
	@$(BIN)/hvc sim explore --random-lab --minutes 3 --seeds 20000 --journal campaign.jsonl $(ARGS)

.PHONY: study
study: setup-dev ## Run the worked example of docs/studies.md again: its tables and its plot
	@$(BIN)/python -m hvcluster.sim.study_cli studies/two-three-four.toml --plot docs/studies.svg --into docs/studies.md $(ARGS)

.PHONY: test
test: setup-dev ## Run every check and every test
	$(BIN)/python -m pytest -n $(TEST_JOBS) $(PYTEST_ARGS)

.PHONY: stories
stories: setup-dev ## Tell every story of scenarios/ on real processes
	HVC_STORIES=all $(BIN)/python -m pytest tests/orchestrator/test_scenarios.py $(PYTEST_ARGS)

.PHONY: iscsi-conformance
iscsi-conformance: setup ## Run libiscsi's conformance suite against the array
	@$(BIN)/python tools/iscsi_conformance.py $(ARGS)

.PHONY: docker-test
docker-test: setup-dev ## Run the tests that need a Docker engine
	$(BIN)/python -m pytest tests/docker $(PYTEST_ARGS)

.PHONY: lint
lint: setup-dev ## Check style, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

.PHONY: format
format: setup-dev ## Put all hand-written Python into the house style
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

.PHONY: proto
proto: setup-dev ## Write the generated code again from protos/hvcluster/v1/*.proto
	$(BIN)/python protos/generate.py

.PHONY: conformance
conformance: setup-dev ## Write docs/conformance.md again: which test shows what of the product
	$(BIN)/python tools/conformance.py $(ARGS)

.PHONY: lock
lock: ## Pin the dependencies again: make lock ARGS=--upgrade
	tools/lock.sh $(ARGS)

.PHONY: bench-failover bench-migration bench-sim bench-idle
bench-migration: setup ## Measure how long the clients of a VM wait while it is live-migrated
	@$(BIN)/python bench/migration.py $(ARGS)

bench-failover: setup ## Measure the time from a node's death to its last VM online elsewhere
	@$(BIN)/python bench/failover.py $(ARGS)

bench-sim: setup-dev ## Measure how much faster than real time the simulator is, compiled where that is possible
	@$(BIN)/python tools/compile.py --if-possible
	@$(BIN)/python bench/sim.py $(ARGS)

bench-idle: setup ## Measure what an idle node costs in CPU and memory
	@$(BIN)/python bench/idle.py $(ARGS)

.PHONY: mutants
mutants: setup ## Put deliberate faults into the protocol; the simulator must find each of them
	@$(BIN)/python -m bench.mutants $(ARGS)

.PHONY: compiled
compiled: setup-dev ## Compile the simulator and the cores: simulates two to three times faster (needs a C compiler)
	@$(BIN)/python tools/compile.py $(ARGS)

.PHONY: docker-build
docker-build: ## Build the image that all our processes run from
	@# An argument without a value is taken from the environment, and left out where it is not set there.
	docker build --build-arg PIP_INDEX_URL --build-arg PIP_TRUSTED_HOST --tag $(IMAGE) $(ARGS) .

.PHONY: model-check
model-check: ## Check the protocol's models with spin: make model-check ARGS=--list
	@$(or $(PYTHON),python3) spec/check.py $(ARGS)

.PHONY: hooks
hooks: setup-dev ## Check every commit before it is made
	$(BIN)/pre-commit install

.PHONY: clean
clean: ## Remove what can be made again
	rm -rf .venv .venv.lock build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -path ./.git -prune -o -type d -name __pycache__ -print0 | xargs -0 rm -rf
