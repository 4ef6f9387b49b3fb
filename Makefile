# Every target runs in the virtual environment VENV, which `make venv` creates from requirements.lock.
# VENV=path uses another one, PYTHON=python3.12 makes it with another Python, UV=uv installs with uv, in a third of pip's
# time. `make` alone lists the targets.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
UV ?=
install-into = $(if $(UV),$(UV) pip install --python $(1)/bin/python,$(1)/bin/python -m pip install)
STAMP := $(VENV)/.installed
BENCH_STAMP := $(VENV)/.installed-bench
CLUSTER_STAMP := $(VENV)/.installed-cluster
RUN ?= runs/quick
MLFLOW ?= mlflow==3.17.2
PYTEST_FLAGS ?= -n 2 --dist loadfile --no-loadscope-reorder

# An environment runs the code of the clone that made it, whose folder is in the stamp.
OWNER := $(shell cat $(STAMP) 2> /dev/null)
ifneq ($(OWNER),)
ifneq ($(OWNER),$(CURDIR))
$(error $(VENV) is the environment of the clone in $(OWNER): choose another VENV, or delete it)
endif
endif

# What one lock file holds, for every platform that the project runs on, without the name of a host.
COMPILE := build/lock/bin/uv pip compile --universal --fork-strategy fewest --generate-hashes --no-header --no-annotate --quiet

.DEFAULT_GOAL := help
.PHONY: help venv quick test test-thorough test-recovery test-cluster test-slow test-mlflow lint lint-types lint-macos format bench report docs tutorial release lock audit clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(STAMP) ## Create the virtual environment with the locked versions (once)

$(STAMP): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(call install-into,$(VENV)) --require-hashes --requirement requirements.lock
	$(call install-into,$(VENV)) --no-deps --no-build-isolation --editable .
	@echo "$(CURDIR)" > $@

quick: venv ## Run the quick study (built-in handwriting, a minute or two on two cores) and write its report
	$(BIN)/study launch quick --run $(RUN)
	$(BIN)/analysis report $(RUN) -o $(RUN)/report
	@echo "The report, to open in a browser:"
	@ls $(RUN)/report/*.html

test: venv ## Run the tests (minutes; STUDY_DATA_DIR says where the real MNIST is)
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

test-thorough: venv ## Do what tutorial, notebook and light installation say; test whole pages, studies and releases (minutes)
	$(BIN)/python -m pytest -m thorough $(PYTEST_FLAGS) $$(grep -rl --include='test_*.py' 'mark\.thorough' tests)

test-recovery: venv ## Run the tests that kill, fill and remove what a study runs on (they wait a lot; six minutes)
	$(BIN)/python -m pytest -m recovery $(PYTEST_FLAGS) -n 3 --dist load $$(grep -rl --include='test_*.py' 'mark\.recovery' tests)

test-cluster: $(CLUSTER_STAMP) ## Run the tests on three hosts that are started on this machine (root, sshd, rsync; twelve minutes)
	$(BIN)/python -m pytest -m cluster

$(CLUSTER_STAMP): $(STAMP) requirements-cluster.lock
	$(call install-into,$(VENV)) --require-hashes --requirement requirements.lock --requirement requirements-cluster.lock
	@touch $@

test-slow: venv ## Run the tests that take long, or need a GPU
	$(BIN)/python -m pytest -m "slow or gpu"

test-mlflow: venv ## Run the test that opens an export with MLflow, whose versions differ from the lock's: in build/mlflow
	test -x build/mlflow/bin/mlflow || ($(PYTHON) -m venv build/mlflow && $(call install-into,build/mlflow) $(MLFLOW))
	$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" > build/site-packages
	cp build/site-packages $$(build/mlflow/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/zz-study.pth
	build/mlflow/bin/python -m pytest tests/study/tables/test_mlflow_export.py

lint: lint-types lint-macos ## Check style, format, types and spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

lint-types: venv
	$(BIN)/mypy

lint-macos: venv
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin trainables study analysis

format: venv ## Format the code and mend what can be mended by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(BENCH_STAMP) ## Measure what has a goal, side by side with what a user would take instead (installs the peers)
	$(BIN)/python -m tests.benchmarks

$(BENCH_STAMP): $(STAMP)
	@mkdir -p build
	sed '/--hash/d; s/ \\$$//' requirements.lock > build/constraints.txt
	$(call install-into,$(VENV)) --constraint build/constraints.txt --no-build-isolation --editable '.[bench]'
	@touch $@

report: venv ## Draw results/ again: the report, into report/, and the README's blocks and figures
	$(BIN)/python -m analysis.report.readme --report report

tutorial: venv ## Do the tutorial and the notebook, and write what is seen into both
	$(BIN)/python -m tests.support.tutorial
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace docs/notebook.ipynb

docs: venv ## Build the pages of docs/ as a site, into site/ (`mkdocs serve` shows it)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

release: venv ## Date, commit and tag the version in pyproject.toml; wheel, source, report and their digests go to dist/
	PYTHON=$(BIN)/python .ci/release

lock: ## Make the three lock files again from pyproject.toml; UPGRADE=1 takes newer versions, at least a week old
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install uv
	grep '^#' requirements.lock > build/head
	$(COMPILE) pyproject.toml --extra dev $(if $(UPGRADE),--upgrade --exclude-newer '7 days') --output-file requirements.lock
	cat requirements.lock >> build/head
	mv build/head requirements.lock
	grep '^#' requirements-cluster.lock > build/head
	$(COMPILE) pyproject.toml --extra dev --extra cluster --constraint requirements.lock --output-file build/both
	awk '/==/ {own = FNR == NR ? 0 : !($$1 in known); known[$$1]} own' requirements.lock build/both >> build/head
	mv build/head requirements-cluster.lock
	grep '^#' requirements-read.lock > build/head
	$(COMPILE) --group pyproject.toml:read --constraint requirements.lock --output-file build/read
	cat build/read >> build/head
	mv build/head requirements-read.lock

audit: ## Look every locked version up in the public list of vulnerabilities (asks the package index about each)
	test -x build/audit/bin/pip-audit || $(PYTHON) -m venv build/audit
	build/audit/bin/python -m pip install pip-audit
	build/audit/bin/pip-audit --strict --disable-pip --require-hashes -r requirements.lock -r requirements-cluster.lock

clean: ## Remove the virtual environment, caches and builds; keep runs/ and results/
	rm -rf .venv build dist report *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
