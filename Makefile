# make            what there is
# make lab        set up what is missing, then open lesson 00 in JupyterLab
# make test       everything CI runs: lint, unit tests, every notebook
# make browser    every notebook in a real browser, its widgets moved; screenshots in runs/browser/
# make site       the lessons as pages to read on the web, in build/site/

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.course-ready
GRADING := .venv-grading
COLAB_PYTHON ?= python3.13
NOTEBOOKS ?= notebooks/
REPO ?=

.DEFAULT_GOAL := help
.PHONY: help setup lab test lint unit notebooks grade-test colab resolve browser site site-browser homework execute benchmark ladder slug lock clean

help:
	@sed -n 's/^# make/make/p' Makefile
	@echo "more:  setup · lint · unit · notebooks · homework · execute · benchmark · ladder · slug · lock · clean"
	@echo "       grade-test (with nbgrader) · colab (with Colab's versions) · resolve (are there versions that fit?)"
	@echo "       site-browser (the pages, in a browser)"

# --- setting up ----------------------------------------------------------------------------------------------------

setup: $(STAMP)

# Redone when the versions or the package's metadata change, and never otherwise.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) tools/bootstrap.py $(VENV)
	@touch $@

lab: setup
	@$(BIN)/jupyter lab notebooks/00_start_here.ipynb

# --- checking ------------------------------------------------------------------------------------------------------

test: lint unit notebooks

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

unit: setup
	$(BIN)/pytest tests/

notebooks: setup
	$(BIN)/pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=300 -rN --durations=0 $(NOTEBOOKS)

# Homework through nbgrader itself, which has an environment of its own on top of .venv.
grade-test: $(GRADING)/.ready
	$(GRADING)/bin/python -m pytest tests/grade_with_nbgrader.py

# nbgrader runs the program alembic. Of that, .venv has the package (for optuna), and pip would leave it at that.
$(GRADING)/.ready: $(STAMP)
	$(BIN)/python -m venv --clear $(GRADING)
	$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" \
		> "$$($(GRADING)/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/course.pth"
	$(GRADING)/bin/python -m pip install --quiet --constraint requirements.lock --editable ".[homework]"
	$(GRADING)/bin/python -m pip install --quiet --constraint requirements.lock --ignore-installed --no-deps alembic
	@touch $@

# Every lesson's set-up cell, as on Colab: its Python, its versions, its pip install from a clone. About 4 GB.
colab:
	$(PYTHON) tests/support/colab_environment.py --python $(COLAB_PYTHON)

# Have pyproject's ranges a solution on every Python, and under Colab's versions? Asks the index, installs nothing.
RESOLVE := $(BIN)/uv pip compile --quiet pyproject.toml --extra test --output-file /dev/null
resolve: setup
	@$(BIN)/python -m pip install --quiet uv
	$(RESOLVE) --extra lab --python-version 3.11
	$(RESOLVE) --extra lab --python-version 3.12
	$(RESOLVE) --extra lab --python-version 3.13
	$(RESOLVE) --constraints tests/colab_constraints.txt --python-version 3.13

# --- in a browser, and on the web ------------------------------------------------------------------------------------

# An extra of pyproject.toml, installed when a target asks for it: .venv/.extra-browser, .venv/.extra-site
$(VENV)/.extra-%: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable ".[$*]"
	@touch $@

# One notebook: make browser NOTEBOOKS=notebooks/00_start_here.ipynb
browser: $(VENV)/.extra-browser
	$(BIN)/pytest tests/in_browser.py
	$(BIN)/python -m tools.browser $(NOTEBOOKS)

site: $(VENV)/.extra-site
	$(BIN)/python docs/sources.py build/site-source
	$(BIN)/python -m sphinx -W --keep-going -q -c docs -d build/site-cache build/site-source build/site
	$(BIN)/python docs/pages.py build/site

site-browser: site $(VENV)/.extra-browser
	$(BIN)/pytest tests/site_in_browser.py

# --- writing -------------------------------------------------------------------------------------------------------

# Run notebooks in place, as they are to be committed: make execute NOTEBOOKS=notebooks/00_start_here.ipynb
execute: setup
	$(BIN)/python -m tools.authoring execute $(NOTEBOOKS)

# Write the learner's homework from the teacher's sources, and the lessons' links to it.
homework: setup
	$(BIN)/python -m tools.homework make

# Train what the results tables quote, over three seeds. Minutes of CPU, or seconds of GPU.
benchmark: setup
	$(BIN)/python -m experiments.benchmark

# Train every rung of the ladder over three seeds and write data/ladder.csv: about 100 CPU minutes, two runs at a time.
ladder: setup
	$(BIN)/python -m course_utils.reasoning.ladder

# Stamp badges and setup cells: make slug REPO=owner/name
slug: setup
	$(BIN)/python -m tools.authoring slug $(REPO)

# Choose new exact versions inside pyproject's ranges.
lock: setup
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra lab --extra test --universal --python-version 3.11 \
		--no-annotate --no-header --upgrade --output-file requirements.lock

clean:
	rm -rf $(VENV) $(GRADING) .venv-colab build dist *.egg-info .pytest_cache .ruff_cache .hypothesis runs
