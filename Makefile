# make lab        set up what is missing, then open lesson 00 in JupyterLab; without CUDA: make lab TORCH=cpu
# make test       everything CI runs: lint, unit tests, every notebook
# make notebooks  every notebook; one of them: make notebooks NOTEBOOKS=notebooks/00_start_here.ipynb
# make execute    run notebooks in place, tidied for a commit (NOTEBOOKS as above)
# make homework   write the learners' copies of the homework, and link the lessons to them
# make browser    run the lessons in JupyterLab in Chromium and move their widgets (NOTEBOOKS as above)
# make site       build the lessons as web pages in build/site/; make site-browser checks them in Chromium

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.course-ready
GRADING := .venv-grading
COLAB_PYTHON ?= python3.13
NOTEBOOKS ?= notebooks/
REPO ?=
TORCH ?=

# As course_utils/__init__.py does on Linux, for programs that import torch first: OpenMP threads that wait give up
# their cores sooner. Your own setting is kept.
ifeq ($(shell uname -s)$(OMP_WAIT_POLICY),Linux)
export GOMP_SPINCOUNT ?= 10000
endif

.DEFAULT_GOAL := help
.PHONY: help setup lab test lint unit notebooks grade-test colab resolve browser site site-browser homework execute benchmark ladder slug lock clean

help:
	@sed -n 's/^# make/make/p' Makefile
	@echo "more: setup, lint, unit, grade-test, colab, resolve, benchmark, ladder, slug, lock, clean (see CONTRIBUTING.md)"

# --- setting up ----------------------------------------------------------------------------------------------------

setup: $(STAMP)

# Repeated when the versions or the package's metadata change.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) tools/bootstrap.py $(VENV) $(TORCH)
	@touch $@

lab: setup
	@$(BIN)/jupyter lab notebooks/00_start_here.ipynb

# An extra of pyproject.toml, installed by the target that needs it: .venv/.extra-browser, .venv/.extra-site
INSTALL := $(BIN)/uv pip install --quiet --constraint requirements.lock
$(VENV)/.extra-%: $(STAMP)
	$(INSTALL) --python $(BIN)/python --editable ".[$*]"
	@touch $@

# --- checking ------------------------------------------------------------------------------------------------------

test: lint unit notebooks

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

unit: setup
	$(BIN)/pytest tests/

notebooks: setup
	$(BIN)/pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=300 -rN --durations=0 $(NOTEBOOKS)

# Homework through nbgrader itself. Its environment is separate because nbgrader brings its own Jupyter Notebook.
grade-test: $(GRADING)/.ready
	$(GRADING)/bin/python -m pytest tests/grade_with_nbgrader.py

$(GRADING)/.ready: $(STAMP)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(GRADING)
	$(INSTALL) --python $(GRADING)/bin/python --editable ".[homework,test]"
	@touch $@

# Every lesson's set-up cell as on Colab: its Python, its versions, its pip install from a clone. About 4 GB.
colab:
	$(PYTHON) tests/support/colab_environment.py --python $(COLAB_PYTHON)

# Do pyproject's ranges have a solution on every Python, and under Colab's versions? Installs nothing.
RESOLVE := $(BIN)/uv pip compile --quiet pyproject.toml --extra test --output-file /dev/null
resolve: setup
	$(RESOLVE) --extra lab --python-version 3.11
	$(RESOLVE) --extra lab --python-version 3.12
	$(RESOLVE) --extra lab --python-version 3.13
	$(RESOLVE) --constraints tests/colab_constraints.txt --python-version 3.13

# --- in a browser, and on the web ----------------------------------------------------------------------------------

browser: $(VENV)/.extra-browser
	NOTEBOOKS="$(NOTEBOOKS)" $(BIN)/pytest tests/in_browser.py

site: $(VENV)/.extra-site
	$(BIN)/python docs/sources.py build/site-source
	$(BIN)/python -m sphinx -W --keep-going -q -c docs -d build/site-cache build/site-source build/site
	$(BIN)/python docs/pages.py build/site

site-browser: site $(VENV)/.extra-browser
	$(BIN)/pytest tests/site_in_browser.py

# --- writing -------------------------------------------------------------------------------------------------------

execute: setup
	$(BIN)/python -m tools.authoring execute $(NOTEBOOKS)

homework: setup
	$(BIN)/python -m tools.homework make

# Train what data/easy_vqa.csv holds, with three seeds. Minutes of CPU, or seconds of GPU.
benchmark: setup
	$(BIN)/python -m experiments.benchmark

# Train every rung of the ladder with three seeds and write data/ladder.csv: about 100 CPU minutes, two runs at a time.
ladder: setup
	$(BIN)/python -m experiments.climb_ladder

# Write the repository's name into badges and set-up cells: make slug REPO=owner/name
slug: setup
	$(BIN)/python -m tools.authoring slug $(REPO)

# Choose new exact versions inside pyproject's ranges.
lock: setup
	$(BIN)/uv pip compile pyproject.toml --extra lab --extra test --universal --python-version 3.11 \
		--no-annotate --no-header --generate-hashes --upgrade --output-file requirements.lock

clean:
	rm -rf $(VENV) $(GRADING) .venv-colab build dist *.egg-info .pytest_cache .ruff_cache .hypothesis runs
