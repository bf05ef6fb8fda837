# Everything a developer or CI calls. `make help` lists it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.made
SAMPLE := .ziggy/sample
LOWEST := build/lowest
PYTEST = $(BIN)/$(if $(COVERED),coverage run -m )pytest -q
# With AGAIN=1, what failed last, alone: a stall of the machine can fail a test, but not twice.
RETRY = $(if $(AGAIN),-n 0 --last-failed --last-failed-no-failures none)
MARKS := (integration or slow or postgres or cloud) and not (slurm or sge or browser)
PROCESSES := 2
# What shows that the oldest packages do: the modules by themselves, and each kind of run.
LOWEST_TESTS := ziggy_dask tests/unit $(addprefix tests/acceptance/test_, datastore.py engine.py \
	events.py parameters.py programs.py real_files.py receipt.py report.py sample.py)

.DEFAULT_GOAL := help
.PHONY: help sample test lowest check integration coverage docs lock clean

help:  ## List the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(STAMP): requirements.lock pyproject.toml tools/environment.sh
	@PYTHON=$(PYTHON) bash tools/environment.sh $(VENV)
	@touch $@

sample: $(STAMP)  ## Run the sample pipeline from an empty directory, end to end
	@rm -rf $(SAMPLE)
	@$(BIN)/python pipelines/sample/draw.py $(SAMPLE)/receipt
	@$(BIN)/ziggy manifest $(SAMPLE)/receipt --dataset-id 1
	@$(BIN)/ziggy cluster init clusters/sample.yaml
	@$(BIN)/ziggy --cluster clusters/sample.yaml import pipelines/sample
	@$(BIN)/ziggy --cluster clusters/sample.yaml run sample --name "First run"
	@$(BIN)/ziggy --cluster clusters/sample.yaml tasks 1
	@echo
	@echo "Look at a result:"
	@echo "    . $(BIN)/activate && python"
	@echo "    >>> import ziggy_dask as z"
	@echo "    >>> z.open('clusters/sample.yaml').datastore['set-1/L3']"

test: $(STAMP)  ## Run the fast tests
	@$(PYTEST) -n 2 ziggy_dask tests $(RETRY)

check: $(STAMP)  ## Lint, types, import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

lowest: $(STAMP)  ## Run LOWEST_TESTS with the oldest packages that pyproject.toml allows
	@$(BIN)/uv venv -q --clear --python $(BIN)/python $(LOWEST)
	@VIRTUAL_ENV=$(LOWEST) $(BIN)/uv pip install -q --resolution lowest-direct \
		--all-extras -r pyproject.toml
	@VIRTUAL_ENV=$(LOWEST) $(BIN)/uv pip install -q --no-deps --no-build-isolation -e .
	@$(LOWEST)/bin/python -m pytest -q -n 2 $(LOWEST_TESTS) $(RETRY)

integration: $(STAMP)  ## Run the tests that start real things, those of MARKS
	@$(PYTEST) -n $(PROCESSES) --dist loadgroup -m "$(MARKS)" tests $(RETRY)

coverage: $(STAMP)  ## Report the lines that tests with COVERED=1 reached, and start anew
	@$(BIN)/coverage combine -q
	@$(BIN)/coverage report --fail-under=90

docs: $(STAMP)  ## Build the site of the docs, and manual pages; a warning is an error
	@$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html
	@$(BIN)/python docs/man_pages.py docs/_build/man
	@echo "docs/_build/html/index.html"

lock: $(STAMP)  ## Make requirements.lock anew
	@$(BIN)/uv pip compile pyproject.toml --universal --all-extras --generate-hashes \
		--no-emit-index-url --no-annotate --no-header --upgrade \
		--python-version 3.11 --fork-strategy requires-python -q -o requirements.lock

clean:  ## Remove environment and everything that was made
	@rm -rf $(VENV) docs/_build docs/_gallery .ziggy .pytest_cache .ruff_cache .mypy_cache .coverage*
