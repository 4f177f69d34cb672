# make demo   the whole path on made data, into demo-out/
# make test   the suite in two processes; make test-full runs the long harnesses whole
# python -m pytest tests/host/test_unchanged.py --as-shipped   the shipped workflows at their own sizes: an hour on two cores
PYTHON ?= python3
VENV   ?= .venv
OUT    ?= demo-out
SHARED := -n 2 --dist loadgroup --no-loadscope-reorder
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
# On a machine without an NVIDIA GPU the plain torch wheel is a multi-gigabyte CUDA build:
# hold it to the version whose CPU build the machine has.
ifeq ($(shell command -v nvidia-smi 2>/dev/null),)
CONSTRAINT := -c .ci/constraints.txt
endif

.PHONY: demo test test-full clean
$(VENV)/.ready: requirements.txt .ci/constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check $(CONSTRAINT) torch
	$(BIN)/python -m pip install -q --disable-pip-version-check $(CONSTRAINT) -r requirements.txt "pytest>=8" "pytest-xdist>=3.6"
	$(BIN)/python -c "open('$(VENV)/.ready', 'w').close()"

demo: $(VENV)/.ready
	$(BIN)/python tests/host/demo.py $(OUT)

test: $(VENV)/.ready
	$(BIN)/python -m pytest -q $(SHARED)

test-full: $(VENV)/.ready
	$(BIN)/python -m pytest -q $(SHARED) --full

clean:
	$(PYTHON) -c "import shutil; shutil.rmtree('$(VENV)', ignore_errors=True); shutil.rmtree('$(OUT)', ignore_errors=True)"
