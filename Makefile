# Two commands for a fresh machine with Python 3.11 or newer, make and a package index.
.DELETE_ON_ERROR:
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
OUT ?= runs/demo
# Debian and Ubuntu keep venv in a package of its own.
SUDO := $(shell test "$$(id -u)" = 0 || echo sudo)
INSTALL_VENV := $(SUDO) apt-get update -q && $(SUDO) apt-get install -qy python3-venv

# The page is tested in a browser where there is one: a password is never asked for it.
INSTALL_BROWSER := $(subst sudo,sudo -n,$(SUDO)) apt-get update -q && $(subst sudo,sudo -n,$(SUDO)) apt-get install -qy --no-install-recommends chromium

# A fresh environment with the lowest versions that pyproject.toml allows. What of the suite it
# runs needs nothing beside them, and touches every library.
LOWEST := .venv-lowest
LOWEST_BIN := $(LOWEST)/$(notdir $(BIN))
LOWEST_TESTS := $(addprefix tests/test_,$(addsuffix .py,arrays checkpoint commands console decode formats \
	frechet_distance hardware mppca parquet significance street_digits))

.PHONY: demo test sweeps docs lint typos packages lowest faults mutants other-systems imitated-gpu notebooks reviewed clean

demo: $(VENV)/.installed ## install, compare the three families, say where the report is
	$(BIN)/triptych compare --out $(OUT)
	@echo "The report: $(abspath $(OUT))/report.html"

# A test may take 60 s, four times that on a machine that others use too. A third process works
# while the others wait for what they started.
test: $(VENV)/.installed-dev $(VENV)/.browser lint ## install with the development tools, run everything
	$(BIN)/python -m pytest -n 3 --timeout 240

sweeps: $(VENV)/.installed-dev ## the tests that take long, with all that they can use
	$(PIP) -e '.[dev,sweeps]'
	$(BIN)/python -m pytest -n 2 --timeout 900 -m sweep

docs: $(VENV)/.installed ## the documents as a site that is read from the disk: site/index.html
	$(PIP) -e '.[docs]'
	$(BIN)/python -m docs.build
	@echo "The site: $(abspath site)/index.html"

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

typos: $(VENV)/.installed-dev ## misspelt words, in English
	$(BIN)/typos

packages: $(VENV)/.installed-dev ## wheel and sdist into dist/, checked as an index checks them
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl

lowest: ## the lowest versions of every library, in an environment of their own
	rm -rf $(LOWEST)
	$(PYTHON) -m venv $(LOWEST)
	$(PYTHON) -m tests.lowest > $(LOWEST)/lowest.txt
	$(LOWEST_BIN)/python -m pip install --quiet --disable-pip-version-check -c $(LOWEST)/lowest.txt \
		-e . hypothesis pytest pytest-timeout
	$(LOWEST_BIN)/python -m pytest -o addopts= --timeout 240 -m 'not sweep' -q $(LOWEST_TESTS)

faults: $(VENV)/.installed-dev ## plant faults one by one and see the tests notice: FAULTS="ema gan" plants some
	$(BIN)/python -m tests.faults.plant $(FAULTS)

mutants: $(VENV)/.installed-dev ## mutate the formulas, one change at a time, and list what no test notices (hours)
	$(PIP) mutmut
	$(BIN)/mutmut run
	$(BIN)/python -m tests.mutants

other-systems: $(VENV)/.installed-dev ## the rules of Windows and the Mac, as far as Linux can imitate them: docs/systems.md
	$(BIN)/mypy --platform win32 --no-warn-unreachable --cache-dir .mypy_cache/win32
	$(BIN)/mypy --platform darwin --no-warn-unreachable --cache-dir .mypy_cache/darwin
	$(BIN)/python -m pytest --timeout 240 -m "" tests/test_other_systems.py

imitated-gpu: $(VENV)/.installed-dev ## the suite on an NVIDIA GPU that is imitated: docs/scaling.md (half an hour)
	$(BIN)/python -m tests.imitated_gpu $(BIN)/python -m pytest -n 2 --timeout 900

notebooks: $(VENV)/.installed-dev ## run the notebooks of examples/ and store what they show (ten minutes)
	$(BIN)/python -m tests.run_notebooks

reviewed: $(VENV)/.installed-dev ## show the sentences that changed in any language, pin them as read
	$(BIN)/python -m tests.reviewed

$(VENV)/pyvenv.cfg:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); $(INSTALL_VENV) && $(PYTHON) -m venv $(VENV); }

$(VENV)/.installed: $(VENV)/pyvenv.cfg pyproject.toml constraints.txt
	$(PIP) -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/pyvenv.cfg pyproject.toml constraints.txt
	$(PIP) -e '.[dev]'
	touch $@ $(VENV)/.installed

$(VENV)/.browser: $(VENV)/pyvenv.cfg
	@command -v chromium google-chrome >/dev/null || { $(INSTALL_BROWSER) >/dev/null 2>&1; } || \
		echo "no Chromium: the tests of the page in a browser are skipped"
	touch $@

clean:
	rm -rf $(VENV) $(LOWEST) build dist site .pytest_cache .mypy_cache .ruff_cache
