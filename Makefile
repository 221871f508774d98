# Both main targets set up what they need: `make demo` and `make test` work on a fresh clone.
PYTHON ?= python3
BIN := .venv/bin
GEN := .venv-gen/bin
BENCHMARKS := events ledgers shared latency local memory tuning token_transfers processes heartbeat plane

.PHONY: demo test lint types floors check-generated generate benchmarks clean

demo: .venv/ready
	$(BIN)/flowctl-aio demo $(DEMO)

test: .venv/ready lint types floors check-generated
	$(BIN)/pytest $(TESTS)

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/ready
	$(BIN)/mypy

floors: .venv/ready
	$(BIN)/lint-imports --no-cache

# The generator needs protobuf 6, the project is developed on 7: it has an environment of its own.
check-generated: .venv-gen/ready
	$(GEN)/python protos/generate.py --check

generate: .venv-gen/ready
	$(GEN)/python protos/generate.py

benchmarks: .venv/ready
	set -e; for one in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$one --quick; done

.venv/ready: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "flowctl_aio needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

.venv-gen/ready: protos/requirements.txt
	$(PYTHON) -m venv .venv-gen
	$(GEN)/python -m pip install --quiet --disable-pip-version-check -r protos/requirements.txt
	touch $@

clean:
	rm -rf .venv .venv-gen demo-out
