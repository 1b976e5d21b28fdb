# Every verb builds its own virtual environment from nothing; only Python 3.11+ and the package index are needed.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint format bench soak clean

demo: $(STAMP)
	$(BIN)/watcher demo $(ARGS)

test: $(STAMP)
	$(BIN)/pytest -n auto --dist loadgroup $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)
	$(BIN)/python -m tests.benchmarks $(ARGS)

# Ten thousand random worlds on a simulated clock, and the tests marked so; takes an hour or two.
soak: $(STAMP)
	$(BIN)/pytest -n auto --timeout 0 -m soak $(ARGS)
	$(BIN)/pytest -n auto --hypothesis-profile soak --timeout 0 tests/integration/test_polling_world.py $(ARGS)

clean:
	rm -rf $(VENV)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@
