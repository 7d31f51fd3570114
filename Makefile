# Every command of the project; `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Python's packages and the system's are brought at the same time.
MAKEFLAGS += --jobs=2

# Tests start hundreds of processes of ours: compiled once, even where the machine says not to.
unexport PYTHONDONTWRITEBYTECODE

# uv takes a tenth of pip's time. It reads none of pip's settings: where it cannot bring the
# packages, pip does.
LOCKED := --quiet --require-hashes --only-binary :all:
define install
$(BIN)/uv pip install --python $(BIN)/python --compile-bytecode $(LOCKED) -r $(1) || \
$(BIN)/python -m pip install --disable-pip-version-check $(LOCKED) -r $(1)
endef

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(VENV)/.run: requirements/installer.txt requirements/run.txt pyproject.toml sdk/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Secondlook needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3")'
	$(PYTHON) -m venv $(VENV)
	-$(BIN)/python -m pip install --disable-pip-version-check $(LOCKED) -r requirements/installer.txt
	$(call install,requirements/run.txt)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e sdk -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements/dev.txt
	$(call install,requirements/dev.txt)
	@touch $@

.PHONY: run
run: $(VENV)/.run ## Start Secondlook with the demo flowing
	@exec $(BIN)/secondlook run --demo

.PHONY: lint
lint: $(VENV)/.dev ## Check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: tools
tools: ## Bring the programs that the tests need beside Python
	@$(PYTHON) -m tests.install

.PHONY: test
test: lint tools ## Run everything that must pass before a commit
	$(BIN)/pytest -n 4 --dist loadgroup --no-loadscope-reorder

.PHONY: sdk
sdk: $(VENV)/.dev ## Test the SDK alone, e.g. make sdk PYTHON=python3.13 VENV=.venv-3.13
	$(BIN)/pytest -n 2 tests/sdk

.PHONY: bench
bench: $(VENV)/.dev ## Measure, and write benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks

.PHONY: lock
lock: $(VENV)/.dev ## Renew the hash-locked requirements
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header requirements/installer.in -o requirements/installer.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-emit-package secondlook --extra demo pyproject.toml requirements/build.in -o requirements/run.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -c requirements/run.txt requirements/dev.in -o requirements/dev.txt
