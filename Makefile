# One command each. PYTHON is the environment's: `make test PYTHON=python` uses the active one.
PYTHON ?= .venv/bin/python
BIN = $(dir $(shell command -v $(PYTHON)))

.PHONY: help environment format lint types contract test quick coverage docs serve bench changelog ci

help:  ## list these commands
	@grep -E '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/: .*## /\t/' | expand -t 14

environment:  ## make .venv with everything development needs
	python3 -m venv .venv && .venv/bin/pip install -q -e '.[dev]' && .venv/bin/pre-commit install

format:  ## rewrite the code in the house's format
	$(BIN)ruff check --fix . && $(BIN)ruff format .

lint:  ## check style without changing anything
	$(BIN)ruff check . && $(BIN)ruff format --check .

types:  ## mypy, strict
	$(BIN)mypy

contract:  ## the doors: who may import whom
	$(BIN)lint-imports

test:  ## every test
	$(BIN)pytest

quick:  ## the tests that need neither real models nor processes
	$(BIN)pytest -m 'not slow'

coverage:  ## every test, and the lines that none of them runs (twice as slow where all is Python)
	$(BIN)pytest -n 2 --dist worksteal --cov --cov-report term:skip-covered

docs:  ## build the documentation into site/, warnings are errors
	$(BIN)mkdocs build --strict

serve:  ## show the documentation at localhost:8000 and rebuild on change
	$(BIN)mkdocs serve

bench:  ## print our figures beside those of others
	@for script in $(filter-out %_child.py %/table.py,$(wildcard benchmarks/*.py)); do echo "== $$script"; $(PYTHON) $$script || exit 1; done

changelog:  ## show what the fragments of changelog.d say about the next version
	$(BIN)towncrier build --draft --version next

ci:  ## what runs before a change lands
	bash .ci/run
