# Needs Python 3.11 or newer and make; everything else is installed into .venv from constraints.txt,
# by `make demo` what the package itself needs, by `make test` the tools as well.
#
#   make PYTHON=python3.12 demo          with another Python
#   make PIP_FLAGS='…' demo              with further options for pip
#
# The default torch for Linux on x86-64 brings gigabytes of CUDA libraries. Without a GPU, give pip the CPU
# package index that PyTorch's installation page names, as --extra-index-url in PIP_FLAGS (or in the
# variable PIP_EXTRA_INDEX_URL): pip then prefers the CPU build of the same pinned version.

PYTHON ?= python3
PIP_FLAGS ?=
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
RUNS := $(VENV)/.runs

define NEW_VENV
$(PYTHON) -c 'import sys; sys.exit("maskkv needs Python 3.11 or newer, this is %d.%d: make PYTHON=python3.11" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)' && \
{ test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV); }
endef

.PHONY: help demo test test-slow check fix bench train-mini

help:
	@echo 'make demo        answer questions about a long document under a KV budget, on the bundled dLLM'
	@echo 'make test        all tests but the slow ones'
	@echo 'make test-slow   the slow ones'
	@echo 'make check       format, lint, types, import contracts'
	@echo 'make fix         format, and repair what the linter can'
	@echo 'make bench       no cache, dLLM-Cache and MaskKV side by side on a random model'
	@echo 'make train-mini  train the bundled dLLM from scratch into build/mini'

demo: $(RUNS)
	@OMP_WAIT_POLICY=passive $(BIN)/maskkv demo

test: $(INSTALLED)
	@$(BIN)/python -m pytest -n $(JOBS)

test-slow: $(INSTALLED)
	@$(BIN)/python -m pytest -n $(JOBS) -m slow

check: $(INSTALLED)
	$(BIN)/ruff format --check src tests
	$(BIN)/ruff check src tests
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(INSTALLED)
	$(BIN)/ruff format src tests
	$(BIN)/ruff check --fix src tests

# OpenMP threads that spin while they wait slow a busy machine down tenfold.
bench: $(RUNS)
	@OMP_WAIT_POLICY=passive $(BIN)/python -m maskkv.bench

train-mini: $(INSTALLED)
	OMP_WAIT_POLICY=passive $(BIN)/python -m maskkv.training.train --out build/mini

# The package alone: what the demo needs. A full set-up serves as well.
$(RUNS): pyproject.toml constraints.txt
	@if test $(INSTALLED) -nt pyproject.toml && test $(INSTALLED) -nt constraints.txt; then touch $@; exit; fi; \
	$(NEW_VENV) && \
	echo 'Installing maskkv and what it needs into $(VENV): about 1.2 GB, and several more with the CUDA build of torch.' && \
	$(BIN)/python -m pip install --editable . --constraint constraints.txt $(PIP_FLAGS) && touch $@

$(INSTALLED): pyproject.toml constraints.txt
	@$(NEW_VENV)
	@echo 'Installing maskkv with its tools into $(VENV): about 3.1 GB, and several more with the CUDA build of torch.'
	$(BIN)/python -m pip install --quiet --editable '.[dev]' --constraint constraints.txt $(PIP_FLAGS)
	@touch $@ $(RUNS)
