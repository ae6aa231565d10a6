# Everything runs in .venv, made on first use. TORCH and TENSORFLOW say which builds to install,
# WORKERS how many processes run the tests.
PYTHON ?= python3
TORCH ?= torch==2.13.0
TENSORFLOW ?= tensorflow-cpu==2.21.0
TOOLS_TORCH ?= torch==2.14.1 torchvision==0.29.1
FRAMEWORK ?= pytorch
WORKERS ?= 2
BIN := .venv/bin
ON_DEVICE := $(BIN)/python -m pytest -p tests.device.plugin -n $(WORKERS) --dist loadfile

.PHONY: demo paper test test-device test-gpu test-tools lint docs clean

demo: .venv/demo-$(FRAMEWORK)
	$(BIN)/art-nip demo --framework $(FRAMEWORK)

# PAPER says what of it, on what: see `art-nip paper --help`.
paper: .venv/demo-$(FRAMEWORK)
	$(BIN)/art-nip paper --framework $(FRAMEWORK) $(PAPER)

# One thread for each worker: the models are small, and threads that share cores wait for each other.
test: lint docs
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist loadfile
	OMP_NUM_THREADS=1 $(ON_DEVICE) tests/device

# All tests of PyTorch, as on a machine whose GPU is the simulated device.
test-device: .venv/dev
	OMP_NUM_THREADS=1 $(ON_DEVICE) -k "not tensorflow and not keras" tests

# The same on the GPU of this machine, with what PYTHON has installed: what needs a package that is
# not there is skipped, with that reason.
test-gpu:
	$(PYTHON) -m pip install -q --no-deps --no-build-isolation -e .
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n $(WORKERS) --dist loadfile \
		-o addopts=--strict-markers --continue-on-collection-errors -rs \
		-k "not tensorflow and not keras" tests

# Libraries that need torchvision, in an environment of their own: torchvision brings another PyTorch
# along (6.4 GB on x86-64).
test-tools: .venv-tools/made
	OMP_NUM_THREADS=1 .venv-tools/bin/pytest -n $(WORKERS) --dist loadfile -o addopts=--strict-markers tests/tools

lint: .venv/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --strict art_nip
	$(BIN)/lint-imports
	$(BIN)/vulture

# The pages, in build/docs; and the examples in them, which are run.
docs: .venv/dev
	$(BIN)/sphinx-build -q -W --keep-going -b html docs build/docs
	$(BIN)/sphinx-build -q -W --keep-going -b doctest docs build/doctest

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/demo-pytorch: setup.cfg .venv/bin/python
	$(BIN)/pip install -q "$(TORCH)" -e ".[benchmark]"
	touch $@

.venv/demo-tensorflow: setup.cfg .venv/bin/python
	$(BIN)/pip install -q "$(TENSORFLOW)" -e ".[benchmark]"
	touch $@

.venv/dev: setup.cfg .venv/bin/python
	$(BIN)/pip install -q "$(TORCH)" "$(TENSORFLOW)" -e ".[dev]"
# It declares torchvision, which brings another PyTorch, and visdom, which does not build; the tests
# need neither.
	$(BIN)/pip install -q --no-deps adv-lib
	touch $@

.venv-tools/made: setup.cfg
	$(PYTHON) -m venv .venv-tools
	.venv-tools/bin/pip install -q $(TOOLS_TORCH) -e ".[tools]"
# torchattacks pins an old requests, and RobustBench an old timm and an old gdown. torchattacks holds
# files of an old RobustBench too, over which RobustBench has to be installed.
	.venv-tools/bin/pip install -q --no-deps torchattacks
	.venv-tools/bin/pip install -q --no-deps --force-reinstall robustbench
	touch $@

clean:
	rm -rf .venv .venv-tools
