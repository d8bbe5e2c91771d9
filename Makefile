# make setup     makes the environment .venv alone
# make demo      trains LCSS on the built-in digits and shows what it learned
# make demo-fashion  the same on Fashion-MNIST, in half an hour; says how to get the data
# make pictures  remakes the documentation's pictures, in some two hours; trains what is not trained
# make test      the fast tests
# make test-all  all tests
# make lint      ruff and its formatter, mypy, the documentation's prose
# make docs      the documentation's site, in site/
# make format    what the formatter would change
#
# Each makes the environment .venv first, once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
WORKDIR := runs/lcss_digits
FASHION := runs/lcss_fashion_small
# Processes of the tests; each takes up to 3 GiB.
JOBS ?= 2

.PHONY: demo demo-fashion pictures test test-all lint docs format setup clean

setup: $(READY)

$(READY): pyproject.toml setup.py
	@$(PYTHON) -c "import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 12) else f'lcss_tf needs Python 3.11 to 3.12; {sys.executable} is %d.%d. Use: make PYTHON=python3.11' % v)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[test]"
	@touch $(READY)

demo: $(READY)
	$(BIN)/python bin/train.py --gin_file=gin/lcss_digits.gin --workdir=$(WORKDIR)
	$(BIN)/python bin/evaluate.py --workdir=$(WORKDIR)

# Training looks for the data first, and says where they are expected.
demo-fashion: $(READY)
	$(BIN)/python bin/train.py --gin_file=gin/lcss_fashion_small.gin --workdir=$(FASHION)
	$(BIN)/python bin/evaluate.py --workdir=$(FASHION)

pictures: $(READY)
	$(BIN)/python tools/pictures.py

test: $(READY)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

test-all: $(READY)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m ""

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tools/prose.py

# No warning is let through. The first line of the theme's own advertisement is one.
docs: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

format: $(READY)
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build site *.egg-info
