# make demo   sets up .venv from nothing and trains, evaluates and draws the embedded world (minutes on a laptop)
# make test   sets up .venv from nothing and runs the tests
# make faults   breaks things on purpose, in minutes: settings, files, processes, containers; make faults-long does all
# make studio   opens a page: pick four times, see your own pictures (the emoji model and an adapter that ships)
# make docs   builds the documentation as a site, outputs/site/index.html; docs/index.md is readable without
# make dist   builds the sdist and the wheel, dist/, and tries the wheel
# make test-slurm   installs a Slurm (Debian, as root) and runs a sweep on it that is preempted and killed
PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/.ready
PIP := $(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt

.PHONY: setup demo studio test test-long test-slurm faults faults-long lint docs dist bench base clean

setup: $(READY)

# torch first: its pinned version decides what everything else resolves to.
$(READY): pyproject.toml constraints.txt $(wildcard dev/*/*)
	@command -v $(PYTHON) > /dev/null || { \
	  echo "make: $(PYTHON) is not on PATH; install Python 3.11 or newer, or name yours: make $(or $(MAKECMDGOALS),setup) PYTHON=python3.12"; \
	  exit 1; }
	$(PYTHON) -m venv .venv
	$(PIP) torch
	$(PIP) ./dev/torchvision_cpu_schemas -e ".[emoji,studio,launchers,optuna,dev]"
	$(PIP) --no-deps hpsv2 # to compare with; its own requirements are years old
	@touch $@

demo: setup
	$(BIN)/ppd demo experiment=emoji/demo

studio: setup
	$(BIN)/ppd studio

# A process a core, each with one thread: with more, the tests' tiny models are much slower and erratic.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist worksteal

test: setup
	$(PYTEST) -m "not long"

test-long: setup
	$(PYTEST) -m "not slurm"

test-slurm: setup
	tests/slurm/install.sh
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m slurm

FAULT := $(BIN)/python experiments/reliability

faults: setup
	$(FAULT)/tables.py
	$(FAULT)/pictures.py
	$(FAULT)/configurations.py
	$(FAULT)/planted_secrets.py
	$(FAULT)/signals.py
	$(FAULT)/kills.py
	$(FAULT)/damages.py --cases 20
	$(FAULT)/containers.py --cases 6

faults-long: setup
	$(FAULT)/tables.py
	$(FAULT)/pictures.py
	$(FAULT)/configurations.py --cases 5000 --trainings 100
	$(FAULT)/planted_secrets.py --cases 200
	$(FAULT)/signals.py --cases 100
	$(FAULT)/kills.py --cases 110
	$(FAULT)/damages.py --cases 500
	$(FAULT)/containers.py

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --strict src experiments/bench

docs: .venv/.docs-ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

.venv/.docs-ready: $(READY)
	$(PIP) -e ".[docs]"
	@touch $@

# The sdist, the wheel made of it, and the wheel tried in a new environment.
dist: setup
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/python -m pytest -q tests/integration/test_wheel.py

bench: setup
	$(BIN)/python experiments/bench/training.py
	$(BIN)/python experiments/bench/arithmetic.py
	$(BIN)/python experiments/bench/newcomer.py
	$(BIN)/python experiments/bench/studio.py
	$(BIN)/python experiments/bench/stores.py
	$(BIN)/python experiments/bench/preparing.py
	$(BIN)/python experiments/bench/rewards.py
	$(BIN)/python experiments/bench/reference.py
	$(BIN)/python experiments/bench/sampling.py
	$(BIN)/python experiments/bench/stage_c.py

# The mini Stable Cascade and the flow model that ship with the package, made anew: hours on a CPU.
base: setup
	$(BIN)/python experiments/emoji/base/make.py codec
	$(BIN)/python experiments/emoji/base/make.py prior
	$(BIN)/python experiments/emoji/base/make.py decoder
	$(BIN)/python experiments/emoji/base/flow.py
	$(BIN)/python experiments/emoji/base/judges.py
	$(BIN)/python experiments/emoji/base/image_text.py
	$(BIN)/python experiments/emoji/base/gate.py
	$(BIN)/python experiments/emoji/base/gate.py --model emoji_flow

clean:
	rm -rf .venv build dist outputs/site .pytest_cache .mypy_cache .ruff_cache
