# Everything runs in .venv, which the first target that needs it builds.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all test-hosts lint bench bench-all bench-steps bench-pool bench-pretrained bench-integrations docs clean

help:
	@echo "make setup     build .venv and install (a few minutes: torch is large)"
	@echo "make demo      the main job on real images, at most 5 minutes on 2 cores; writes runs/demo"
	@echo "make test      lint, types and tests"
	@echo "make test-all  the same with the slow tests"
	@echo "make test-hosts  the integrations under the oldest and newest versions of their hosts; downloads each"
	@echo "make lint      ruff and mypy"
	@echo "make bench     the long-tail benchmark, small, under 20 minutes on 2 cores; writes runs/bench"
	@echo "make bench-all measure what has no result yet; writes benchmarks/results; days on 2 cores"
	@echo "make bench-steps  seconds a training step, beside torchgan and vegans; needs a quiet machine, about 10 minutes"
	@echo "make bench-pool   drawing, writing, opening and reading pools; needs a quiet machine, about 20 minutes"
	@echo "make bench-pretrained  own generators beside other packages, what wrapping costs; a quiet machine, about 10 minutes"
	@echo "make bench-integrations  each adapter beside its host's own transforms and reading by hand; a quiet machine"
	@echo "make docs      the API as HTML; writes build/docs"

setup: $(VENV)/.done

$(VENV)/.done: pyproject.toml tests/references.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; found $$($(PYTHON) --version). Try: make PYTHON=python3.11"; exit 1; }
	@echo "Building $(VENV); torch takes a few minutes, once."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r tests/references.txt
	@touch $@

demo: setup
	$(BIN)/gan-augment demo --out runs/demo

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# One process a core, one thread each: torch's threads of several processes would stand in each other's way.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

test: lint
	$(PYTEST) -m "not slow"

test-all: lint
	$(PYTEST)

test-hosts: setup
	$(BIN)/python -m tests.integrations.hosts

bench: setup
	$(BIN)/python -m benchmarks.longtail small

bench-all: setup
	$(BIN)/python -m benchmarks.digits
	$(BIN)/python -m benchmarks.recipes
	$(BIN)/python -m benchmarks.ablation run --seeds 0-2
	$(BIN)/python -m benchmarks.selection
	$(BIN)/python -m benchmarks.loader
	$(BIN)/python -m benchmarks.selectors run --seeds 0-1
	$(BIN)/python -m benchmarks.longtail run --seeds 100-109
	$(BIN)/python -m benchmarks.longtail run --seeds 100-109 --ratio 50
	$(BIN)/python -m benchmarks.longtail run --seeds 100-109 --order confusable

# The peers are old: an environment of their own holds them without dependencies, and sees the library's torch.
PEERS := runs/peers-venv

$(PEERS)/.done: benchmarks/peers/requirements.txt $(VENV)/.done
	$(BIN)/python -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r benchmarks/peers/requirements.txt
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> "$$($(PEERS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/library.pth"
	@touch $@

bench-steps: $(PEERS)/.done
	OMP_NUM_THREADS=1 $(PEERS)/bin/python -m benchmarks.train_step

bench-pool: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.pool

bench-pretrained: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.pretrained

bench-integrations: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.integrations

docs: setup
	$(BIN)/python -m pdoc --docformat google --output-directory build/docs gan_augment

clean:
	rm -rf $(VENV) build dist *.egg-info
