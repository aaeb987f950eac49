# `make demo` and `make test` do all the set-up there is; both rest on `make setup`, which works once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CODE := hpo models objectives tests bench

.DEFAULT_GOAL := help
.PHONY: help setup demo test check clean

help: ## print this
	@echo "make TARGET [ARGS='...'] [PYTHON=python3.12]"
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## make the environment in .venv; again only after pyproject.toml or constraints.txt changed

demo: setup ## search handwritten digits with two workers: about a minute
	$(BIN)/hpo launch digits --workers 2 $(ARGS)
	@echo "to look at it in a browser: $(BIN)/hpo dashboard"

test: setup ## run all tests; one file: make test ARGS=tests/test_study.py
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

check: setup ## lint, format, types
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy

clean: ## remove the environment and all caches; runs/ stays
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt | $(BIN)/pip
	@echo "installing into $(VENV): 6 GB with PyTorch and CUDA, some minutes the first time"
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[test]'
	@touch $@

$(BIN)/pip:
	@command -v $(PYTHON) >/dev/null || { \
	    echo "no $(PYTHON): install Python 3.11 to 3.13, or name it: make setup PYTHON=/path/to/python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
	    echo "hpo needs Python 3.11 to 3.13 and $(PYTHON) is $$($(PYTHON) --version 2>&1):" \
	        "name another, e.g. make setup PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
