# Everything runs in .venv; no earlier command and no activated environment is needed.
#   make setup TORCH_INDEX=URL   takes torch from URL first (the CPU-only builds, for instance)
#   make bench ONLY=train        one group of benchmarks
#   make test WORKERS=4          tests in so many processes (all cores otherwise, at most eight)
#   make mutate SEED=1 ROOMS=trainers/objectives   another sample of faults, of one room
#   make test-kinds TESTS="tests/analysis tests/trainers/run" KINDS="avx2 sse4"
#                                some tests as on those kinds of machine (all tests and two kinds otherwise)

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet
DEMO := sweeps/quickstart.yaml
WORKERS ?= logical
PYTEST := $(BIN)/python -m pytest
PARALLEL := --numprocesses $(WORKERS) --maxprocesses 8 --dist worksteal
# Modules that start a Ray cluster run alone: beside other tests on two cores Ray's control store failed to start, and
# a second cluster in one process was refused for its token.
RAY_TESTS := tests/orchestrator/execution/test_ray.py tests/orchestrator/execution/test_ray_train.py

.PHONY: setup demo test test-all test-kinds lint format docs notebooks bench ui clean

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "crossover needs Python 3.11 or newer; this is $$($(PYTHON) --version 2>&1). Try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 2; }
	@test -x $(BIN)/python || { echo "Creating .venv"; $(PYTHON) -m venv .venv; }
	@echo "Installing crossover and what it needs (minutes, the first time)"
	@if [ -n "$(TORCH_INDEX)" ]; then $(PIP) --constraint constraints.txt --index-url $(TORCH_INDEX) torch; \
		else $(PIP) --constraint constraints.txt torch; fi
	@$(PIP) --constraint constraints.txt --editable .
	@touch $@

.venv/.ready-dev: .venv/.ready
	@echo "Installing what the tests need"
	@$(PIP) --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: .venv/.ready
	$(BIN)/crossover run $(DEMO)

test: .venv/.ready-dev
	set -e; for module in $(RAY_TESTS); do $(PYTEST) $$module; done
	$(PYTEST) $(PARALLEL) $(RAY_TESTS:%=--ignore=%)

test-all: .venv/.ready-dev
	set -e; for module in $(RAY_TESTS); do $(PYTEST) -m "slow or not slow" $$module; done
	$(PYTEST) $(PARALLEL) $(RAY_TESTS:%=--ignore=%) -m "slow or not slow"

# Outside CI: no test may depend on how a machine rounds. Ray's tests compute nothing that could.
test-kinds: .venv/.ready-dev
	$(BIN)/python -m tests.kinds $(KINDS:%=--kind %) $(PARALLEL) $(RAY_TESTS:%=--ignore=%) $(TESTS)

# Puts faults into copies of modules, one at a time, and lists those that no mirrored test sees. One core.
mutate: .venv/.ready-dev
	$(BIN)/python -m benchmarks.mutation $(ROOMS) --sample $(or $(SAMPLE),200) --seed $(or $(SEED),0)

lint: .venv/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/.ready-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/.ready-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Runs the notebooks from top to bottom and writes what they show into them.
notebooks: .venv/.ready-dev
	cd docs/notebooks && ../../$(BIN)/jupyter execute --inplace --NotebookClient.record_timing=False *.ipynb
	rm -rf docs/notebooks/data docs/notebooks/runs docs/notebooks/exported docs/notebooks/store docs/notebooks/report

bench: .venv/.ready-dev
	$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY))

ui: .venv/.ready
	$(BIN)/crossover ui

# The store (trained runs) is not touched: remove it by hand if you mean to.
clean:
	rm -rf .venv build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
