# Every target does its own set-up; a machine with Python 3.11 and make is enough.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-slow check package-check bench bench-full setup clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt Makefile
	$(PYTHON) -c 'import sys; sys.exit("whence needs Python 3.11 or newer, this is " + sys.version) if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.5"
	$(BIN)/uv pip install --python $(BIN)/python --constraint constraints.txt --editable . --group dev
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/whence demo --out runs/demo

# Two processes of one thread each: threads of several processes would wait for each other.
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not gpu"

# The bank of retrainings is made once (about seven minutes) and kept in runs/bank.
test-slow: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/whence bank runs/bank --size nano --jobs 2
	OMP_NUM_THREADS=1 WHENCE_BANK=$(CURDIR)/runs/bank $(BIN)/python -m pytest -n 2 --dist loadfile \
		-m "not gpu" --timeout 1800 --durations 30

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/docs tests/report/test_scripts.py -m "not slow"

bench: $(STAMP)
	$(BIN)/python benchmarks/planted.py
	$(BIN)/python benchmarks/relations.py
	$(BIN)/python benchmarks/index.py
	$(BIN)/python benchmarks/index.py --docs 24 --max-length 256 --repeats 1 --cases "160m fp32"
	$(BIN)/python benchmarks/trackstar.py
	$(BIN)/python benchmarks/scaling.py
	$(BIN)/python benchmarks/query.py
	$(BIN)/python benchmarks/duplicates.py

bench-full: $(STAMP)
	$(BIN)/python benchmarks/index.py --docs 500 --cases "14m fp32,14m mixed,14m bf16,160m fp32,160m bf16"
	$(BIN)/python benchmarks/trackstar.py --docs 1000
	$(BIN)/python benchmarks/ladder.py
	$(BIN)/python benchmarks/derivative.py
	$(BIN)/python benchmarks/worlds.py
	$(BIN)/python benchmarks/windows.py nano nano@1 nano@2 nano@3
	$(BIN)/python benchmarks/kinds.py
	$(BIN)/python benchmarks/recall.py
	$(BIN)/python benchmarks/recall_shares.py

package-check: $(STAMP)
	rm -rf build/package && mkdir -p build/package
	$(BIN)/uv build --wheel --out-dir build/package .
	$(PYTHON) -m venv build/package/venv
	$(BIN)/uv pip install --quiet --python build/package/venv/bin/python --constraint constraints.txt build/package/*.whl
	cd build/package && venv/bin/whence --help
	cd build/package && venv/bin/whence doctor

clean:
	rm -rf build dist runs .pytest_cache .ruff_cache .import_linter_cache
