# make demo    set up, paint a scene, index it, open JupyterLab on notebooks/01_find_things.ipynb (its address is printed)
# make demo OPEN=0   no browser: play the whole loop on the bundled scene, leave demo/report.md
# make test    set up and run every test;  make test-fast  the quick ones (under five minutes)
# make browser set up a Chromium for the tests, which make test does too
# TORCH=cpu    install torch without its CUDA parts (several GB less)
PYTHON ?= python3
OPEN ?= 1
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TEST_STAMP := $(VENV)/.installed-test

.PHONY: demo test test-fast browser lint clean

demo: $(STAMP)
ifeq ($(OPEN),0)
	$(BIN)/python -m workbench demo --out demo
else
	$(BIN)/python -m workbench lab
endif

test: $(TEST_STAMP) browser
	$(BIN)/python -m pytest $(PYTEST)

test-fast: $(TEST_STAMP)
	$(BIN)/python -m pytest -m "not slow and not browser" $(PYTEST)

browser: $(TEST_STAMP)
	$(BIN)/python tests/browser/install.py

lint: $(TEST_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name one with PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(STAMP): $(VENV)/bin/python pyproject.toml
ifeq ($(TORCH),cpu)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --python $(BIN)/python --torch-backend=cpu torch torchvision
endif
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(TEST_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) demo dist build .pytest_cache .mypy_cache .ruff_cache
