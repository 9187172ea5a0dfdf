PYTHON ?= python3
.PHONY: up down test soak check bench bench-ingest lock

up: ## set up, start everything, replay a month of real flights, serve it; Ctrl-C stops
	@$(PYTHON) scripts/bootstrap.py local && exec .venv/bin/pista up

down: ## stop everything
	@$(PYTHON) scripts/bootstrap.py local && exec .venv/bin/pista down

test: ## set up and run all tests
	@$(PYTHON) scripts/bootstrap.py dev && exec .venv/bin/python -m pytest

soak: ## the 200 kills of docs/reference/faults.md, with the table
	@$(PYTHON) scripts/bootstrap.py dev && exec .venv/bin/python -m pytest -s tests/integration/ingest/test_kill.py --kills 200

check: ## linters, types, doors between packages
	@$(PYTHON) scripts/bootstrap.py dev && PATH="$(CURDIR)/.venv/bin:$$PATH" && export PATH && ruff check . && ruff format --check . && mypy && lint-imports

bench: ## list the measurements; each file says what it measures and how to run it
	@grep -m1 '"""' benchmarks/*.py benchmarks/*/__main__.py

bench-ingest: ## Pista beside its peers, from Kafka to PostgreSQL; ROWS=200000 is a short form, REPEATS the runs of each
	@$(PYTHON) scripts/bootstrap.py dev && exec .venv/bin/python -m benchmarks.ingest --rows $(or $(ROWS),1000000) --repeats $(or $(REPEATS),3)

lock: ## after a change of dependencies in setup.py: the pinned versions anew, those of now where they still fit
	@$(PYTHON) scripts/bootstrap.py dev && for set in local dev; do .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url $$(test $$set = local && echo --extra local --extra fast || echo --all-extras) setup.py --output-file requirements/$$set.txt; done
