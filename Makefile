VENV := .venv
PY := $(VENV)/bin/python
EMUVM := $(VENV)/bin/emuvm
PYTHON ?= python3

.PHONY: run test bench oracle samples clean

$(VENV)/.installed: pyproject.toml setup.py $(wildcard emuvm/engine/native/*.[ch])
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install -q -e .
	touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(PY) -m pip install -q -e '.[dev]'
	touch $@

run: $(VENV)/.installed
	@for arch in x86_64 arm64; do for name in hello hello_pie memory sieve selfmod; do \
	    echo "-- $$arch $$name"; $(EMUVM) run samples/bin/$$arch/$$name || exit 1; done; done
	@if file=$$(command -v busybox); then echo "-- $$file"; $(EMUVM) run "$$file" uname -ms; \
	    $(EMUVM) run "$$file" sh -c 'i=1; while [ $$i -le 3 ]; do echo "$$i squared is $$((i * i))"; i=$$((i + 1)); done'; fi

test: $(VENV)/.dev
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(PY) -m pytest -n auto

bench: $(VENV)/.installed
	$(PY) tests/benchmarks/run_speed.py
	$(PY) tests/benchmarks/vma_ops.py

# Random walks against the host's kernel. ENGINE, MODES and ARCH choose (default: both engines, all modes, x86_64), START is the first seed.
SEEDS ?= 20
START ?= 1
ARCH ?= x86_64
JOBS ?= 2
oracle: $(VENV)/.dev
	$(PY) -m tests.oracle.runner --seeds $(SEEDS) --start $(START) --jobs $(JOBS) --arch "$(ARCH)" --engines "$(ENGINE)" --modes "$(MODES)"

samples:
	samples/build.sh

clean:
	rm -rf $(VENV) build dist *.egg-info .cache .mypy_cache .ruff_cache .pytest_cache
	find emuvm loaders -name '*.so' -delete
