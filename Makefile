# Two commands: `make serve` and `make test`. Everything lives in .venv, .cache and data; the system stays as it is.

PYTHON ?= python3
CONFIG ?= config/pullthrough.yaml
TESTS  ?=
BENCH  ?=

VENV := .venv
BIN  := $(VENV)/bin
PIP  := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes

# The project is installed in place, so that a changed source needs no new installation. Its build tools are pinned too.
PROJECT := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .

COMPILE := $(BIN)/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe --no-annotate --no-header \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options

.DEFAULT_GOAL := help
.PHONY: help serve test lint format bench pins clean
.DELETE_ON_ERROR:

help:  ## Show what there is to make.
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

serve: $(VENV)/.serve  ## Serve CONFIG on this machine; Ctrl-C ends it.
	exec $(BIN)/pullthrough serve --config $(CONFIG)

test: $(VENV)/.test  ## Run all tests; TESTS="tests/unit -k digest" runs some.
	$(BIN)/python -m pytest $(if $(CI),--cov) $(TESTS)

lint: $(VENV)/.test  ## Check style, types and the layers.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.test  ## Put the sources into the house's form.
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

bench: $(VENV)/.test  ## Measure beside other servers, and write benchmarks/results; BENCH="cold --quick" runs some.
	$(BIN)/python -m benchmarks $(BENCH)

pins: $(VENV)/.test  ## Compile requirements/*.txt anew from pyproject.toml.
	@$(BIN)/python requirements/declared.py build > $(VENV)/build.in
	@$(BIN)/python requirements/declared.py build dev > $(VENV)/dev.in
	$(COMPILE) --output-file=requirements/runtime.txt pyproject.toml
	$(COMPILE) --constraint=requirements/runtime.txt --output-file=requirements/build.txt $(VENV)/build.in
	$(COMPILE) --extra=speedups --constraint=requirements/runtime.txt --constraint=requirements/build.txt \
		--output-file=requirements/dev.txt pyproject.toml $(VENV)/dev.in
	@sed --in-place '1i # Compiled from pyproject.toml by `make pins`.' requirements/*.txt

clean:  ## Remove the environment and the caches, not the data.
	rm -rf $(VENV) .cache .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is older than 3.11: name a newer one, as in: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' \
		|| { echo "$(PYTHON) cannot make virtual environments: on Debian, apt-get install python3-venv"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.serve: pyproject.toml requirements/runtime.txt requirements/build.txt | $(VENV)/bin/python
	$(PIP) --requirement requirements/runtime.txt
	$(PIP) --requirement requirements/build.txt
	$(PROJECT)
	@touch $@

$(VENV)/.test: pyproject.toml requirements/dev.txt | $(VENV)/bin/python
	$(PIP) --requirement requirements/dev.txt
	$(PROJECT)
	@touch $@
