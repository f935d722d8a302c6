# Fletch. `make demo` shows the main job on this machine, `make test` proves it. Everything installs itself into .venv.
.DEFAULT_GOAL := help
PYTHON ?= python3.11
BIN := .venv/bin

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.venv/ready: requirements/dev.txt
	@command -v $(PYTHON) >/dev/null || { echo "Fletch needs Python 3.11 (looked for $(PYTHON)). Name yours: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@# torch first and alone: its pin picks the build that this machine offers, and nothing after it may choose another
	$(BIN)/pip install --quiet --disable-pip-version-check "$$(sed -n 's/^\(torch==[0-9.]*\).*/\1/p' requirements/dev.txt)"
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements/dev.txt
	touch $@

setup: .venv/ready ## make .venv with the pinned dependencies

lint: setup ## ruff, formatting, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/python tools/longest.py

types: setup ## strict types
	$(BIN)/mypy

lock: setup ## resolve requirements/*.in again into the pinned *.txt
	for role in web serving worker dev; do CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/python -m piptools compile --quiet --strip-extras --allow-unsafe \
	  --no-header --annotation-style line --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	  --output-file requirements/$$role.txt requirements/$$role.in && sed -i -E 's/^(torch==[0-9.]+)\+cpu/\1/' requirements/$$role.txt || exit 1; done

.PHONY: help setup lint types lock
