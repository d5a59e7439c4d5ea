# Every target sets up what it needs. `make` alone prints this list.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory
# The tests start some thousand Python programs: without it each of them would compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# A second Python for the unit tests, where one is installed (a pyenv shim that leads nowhere is none).
PYTHON_313 := $(firstword $(foreach p,python3.13 $(wildcard $(HOME)/.pyenv/versions/3.13*/bin/python3.13),\
	$(shell $(p) -c 'import sys; print(sys.executable)' 2>/dev/null)))
JOBS ?= 4
PROCESSES ?= auto
PYTEST := $(BIN)/python -m pytest
CHART := charts/mahavishnu-operator
PIP_FLAGS := --quiet --disable-pip-version-check

.PHONY: help
help: ## print this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

$(VENV)/.installed $(VENV)-3.13/.installed: requirements/dev.lock pyproject.toml
	$(if $(findstring 3.13,$@),$(PYTHON_313),$(PYTHON)) -m venv $(@D)
	$(@D)/bin/python -m pip install $(PIP_FLAGS) --require-hashes -r requirements/dev.lock
	$(@D)/bin/python -m pip install $(PIP_FLAGS) --no-deps --no-build-isolation -e .
	touch $@

.PHONY: install
install: $(STAMP) ## make .venv from the pinned and hashed locks

.PHONY: packages
packages: ## install the Debian packages that the tests need (as root; otherwise print the command)
	scripts/ensure-packages

.PHONY: demo
demo: $(STAMP) ## scan this repository with local workers and show the report
	$(BIN)/python scripts/demo.py

.PHONY: check
check: $(STAMP) ## format, lint, types, layers, generated files, module length, locks
	$(BIN)/ruff format --check .
	$(BIN)/ruff check --no-cache .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m mahavishnu_operator.api.crd --check crds
	$(BIN)/python -m mahavishnu_operator.api.crd --check $(CHART)/files/crds
	$(BIN)/python -m mahavishnu_operator.api.docs --check docs/reference
	$(BIN)/python -m mahavishnu_operator.support.metrics --check docs/reference/metrics.md
	$(BIN)/python scripts/check_tree.py

.PHONY: cluster-binaries
cluster-binaries: $(STAMP)
	$(BIN)/python -m tests.cluster.build

# Where `make cluster-up` keeps its files.
CLUSTER ?= build/cluster

.PHONY: cluster-up
cluster-up: $(STAMP) packages ## start a cluster with one real node and the project's images (as root), and say how to use it
	$(BIN)/python -m tests.cluster.node up $(CLUSTER) --image worker --image operator --image gateway

.PHONY: cluster-down
cluster-down: $(STAMP) ## end it
	$(BIN)/python -m tests.cluster.node down $(CLUSTER)

.PHONY: images
images: $(STAMP) packages ## build the container images (BASE=reference for another base than Debian's packages)
	$(BIN)/python -m tests.images $(if $(BASE),--base $(BASE))

.PHONY: e2e
e2e: $(STAMP) packages ## the tests in which Pods run
	$(PYTEST) -n $(JOBS) --dist loadgroup tests/e2e tests/cluster/node

.PHONY: test
test: $(STAMP) packages cluster-binaries ## all tests but the long ones (ALLOW_MISSING=1: also where no node can run)
	$(MAKE) -j2 test-here $(if $(PYTHON_313),test-there)
	@$(if $(PYTHON_313),tail -n 1 build/test-313.log,echo "Python 3.13 is not installed: unit tests ran on $$($(BIN)/python -V) alone")

.PHONY: test-here test-there
test-here: $(STAMP)
	$(PYTEST) -n $(JOBS) --dist loadgroup -m 'not long' tests

# Beside the others, many of which wait for a node: what it prints is kept apart, and shown when it fails.
test-there:
	@mkdir -p build
	@$(MAKE) test-313 PROCESSES=1 > build/test-313.log 2>&1 || { cat build/test-313.log; exit 1; }

.PHONY: test-unit
test-unit: $(STAMP) ## unit tests alone: no network, seconds
	$(PYTEST) -n auto tests/unit

.PHONY: test-313
test-313: $(VENV)-3.13/.installed
	$(VENV)-3.13/bin/python -m pytest -n $(PROCESSES) -p no:cacheprovider tests/unit

.PHONY: test-long
test-long: $(STAMP) packages cluster-binaries ## the long tests
	$(PYTEST) -m long tests

.PHONY: chaos
chaos: $(STAMP) packages cluster-binaries ## the long storms of faults alone, with one summary
	$(PYTEST) -n 2 --dist loadgroup -m long tests/chaos

.PHONY: bench
bench: $(VENV)/.bench-installed cluster-binaries ## speed next to a yardstick in the same run, as JSON lines (NAME=... for one)
	$(BIN)/python -m benchmarks $(NAME)

.PHONY: bench-cluster
bench-cluster: $(STAMP) packages cluster-binaries ## speed with Pods as workers, real and simulated (as root; NAME=... for one)
	$(BIN)/python -m benchmarks.cluster $(NAME)

.PHONY: bench-gateway
bench-gateway: $(STAMP) cluster-binaries ## speed of an agent's calls next to yardsticks, as JSON lines (NAME=... for one)
	$(BIN)/python -m benchmarks.gateway $(NAME)

$(VENV)/.bench-installed: $(STAMP) requirements/bench.lock
	$(BIN)/python -m pip install $(PIP_FLAGS) --require-hashes -r requirements/bench.lock
	touch $@

.PHONY: crds
crds: $(STAMP) ## write crds/, the chart's copy and docs/reference/ from the models
	$(BIN)/python -m mahavishnu_operator.api.crd --write crds
	$(BIN)/python -m mahavishnu_operator.api.crd --write $(CHART)/files/crds
	$(BIN)/python -m mahavishnu_operator.api.docs --write docs/reference
	$(BIN)/python -m mahavishnu_operator.support.metrics --write docs/reference/metrics.md

.PHONY: manifests
manifests: $(STAMP) ## write deploy/ from the chart
	helm=$$($(BIN)/python -m tests.cluster.build helm) && $(BIN)/python scripts/render_manifests.py --helm "$$helm" deploy

.PHONY: lock
lock: $(STAMP) ## pin and hash the requirements anew
	scripts/lock

.PHONY: clean
clean: ## remove virtual environments and build output
	rm -rf $(VENV) $(VENV)-3.13 build dist
