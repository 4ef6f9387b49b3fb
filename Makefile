# Every target runs in the virtual environment VENV, which `make venv` creates from requirements.lock.
# VENV=path uses another one, PYTHON=python3.12 makes it with another Python. `make` alone lists the targets.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_STAMP := $(VENV)/.installed-bench
CLUSTER_STAMP := $(VENV)/.installed-cluster
RUN ?= runs/quick
PYTEST_FLAGS ?= -n 2 --dist loadfile --no-loadscope-reorder

# What pip would not list by itself on Python 3.11 (setuptools, which torch needs) is asked for; pip itself is left out.
FREEZE := -m pip freeze --all --exclude pip --exclude wheel --exclude mnist-autoencoder-study
CUDA_ONLY := sys_platform == \"linux\" and platform_machine == \"x86_64\"

.DEFAULT_GOAL := help
.PHONY: help venv quick test test-recovery test-cluster test-slow lint format bench report lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(STAMP) ## Create the virtual environment with the locked versions (once)

$(STAMP): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --requirement requirements.lock
	$(BIN)/python -m pip install --no-deps --no-build-isolation --editable .
	@touch $@

quick: venv ## Run the quick study (built-in data, minutes on two cores) and write its report
	$(BIN)/study launch quick --run $(RUN)
	$(BIN)/analysis report $(RUN) -o $(RUN)/report
	@echo "The report, to open in a browser:"
	@ls $(RUN)/report/*.html

test: venv ## Run the tests (minutes; STUDY_DATA_DIR says where the real MNIST is)
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

test-recovery: venv ## Run the tests that kill, fill and remove what a study runs on (ten minutes)
	$(BIN)/python -m pytest -m recovery $(PYTEST_FLAGS) --dist load

test-cluster: $(CLUSTER_STAMP) ## Run the tests on three hosts that are started on this machine (root, sshd, rsync; twelve minutes)
	$(BIN)/python -m pytest -m cluster

$(CLUSTER_STAMP): $(STAMP) requirements-cluster.lock
	$(BIN)/python -m pip install --requirement requirements.lock --requirement requirements-cluster.lock
	@touch $@

test-slow: venv ## Run the tests that take long, or need a GPU
	$(BIN)/python -m pytest -m "slow or gpu"

lint: venv ## Check style, format, types and spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

format: venv ## Format the code and mend what can be mended by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(BENCH_STAMP) ## Measure what has a goal, side by side with what a user would take instead (installs the peers)
	$(BIN)/python -m tests.benchmarks

$(BENCH_STAMP): $(STAMP)
	$(BIN)/python -m pip install --constraint requirements.lock --no-build-isolation --editable '.[bench]'
	@touch $@

report: venv ## Draw results/ again: the report, into report/, and the README's blocks and figures
	$(BIN)/python -m analysis.report.readme --report report

lock: ## Make both lock files again from pyproject.toml, in a fresh environment
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --editable '.[dev]'
	grep '^#' requirements.lock > build/requirements.lock
	build/lock/bin/python $(FREEZE) \
	    | awk '/^(cuda|nvidia|triton)/ {$$0 = $$0 "; $(CUDA_ONLY)"} {print}' >> build/requirements.lock
	build/lock/bin/python -m pip install --constraint build/requirements.lock --editable '.[dev,cluster]'
	grep '^#' requirements-cluster.lock > build/requirements-cluster.lock
	sed 's/;.*//' build/requirements.lock > build/known
	build/lock/bin/python $(FREEZE) | grep -vxFf build/known >> build/requirements-cluster.lock
	mv build/requirements*.lock .
	rm -rf build/lock

clean: ## Remove the virtual environment, caches and builds; keep runs/ and results/
	rm -rf .venv build dist report *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
