# make report, make test, make lab: each creates .venv first if it is not there yet.
PYTHON ?= python3
DATA ?= data/sample.toml
BIN := .venv/bin

.PHONY: report test lab lock

report: .venv/installed $(if $(filter %cdnow.toml,$(DATA)),data/cdnow.csv)
	@$(BIN)/crm-analysis report "$(DATA)"

test: .venv/installed data/cdnow.csv
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pytest --numprocesses auto --dist loadfile

# From the project's folder, so that the executed notebooks in reports/ open, too.
lab: .venv/installed
	$(BIN)/jupyter lab --notebook-dir=. --LabApp.default_url=/lab/tree/notebooks/05_overview.ipynb

data/cdnow.csv: | .venv/installed
	@$(BIN)/crm-analysis example cdnow

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Installing the locked packages into .venv (once, one to three minutes)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# Pins anew what pyproject.toml asks for; needs uv on the PATH. Then bring environment.yml into line: a test compares.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --all-extras --generate-hashes --no-annotate \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --upgrade \
	  pyproject.toml --output-file requirements.lock
