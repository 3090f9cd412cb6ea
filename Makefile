# `make` alone lists the targets.
.DEFAULT_GOAL := help
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PHOTOS ?=
OP ?= enhance

.PHONY: help setup demo up test campaigns chaos chaos-long soak mutations walks unit lint check openapi bench audit pins clean

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: .venv/installed ## Everything into .venv, pinned by hash

.venv/installed: requirements-dev.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing into .venv (a minute or two the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
	@echo "Done. Next: source .venv/bin/activate, then photabatch --help"

demo: setup ## Photos in, finished photos out, on this machine: make demo PHOTOS=~/Pictures/trip
	@$(BIN)/photabatch demo $(if $(PHOTOS),"$(PHOTOS)") --op $(OP) $(if $(PROMPT),--prompt "$(PROMPT)")

up: setup ## The whole stack in the foreground; Ctrl-C stops it
	@$(BIN)/photabatch up

test: setup ## The whole suite: unit, integration, acceptance
	@$(BIN)/python -m pytest -n 3 --dist worksteal

campaigns: setup ## What takes many minutes: 10,000 photos, killed and renamed
	@$(BIN)/python -m pytest -m campaign

chaos: setup ## Every row of the fault matrix in small, some minutes; SEED=… replays one
	@$(BIN)/python -m chaos --size short --at-once 3 $(if $(SEED),--seed $(SEED))

chaos-long: setup ## The figures of docs/reliability.md, one to two hours; SEED=… replays them
	@$(BIN)/python -m chaos --size long --at-once 2 $(if $(SEED),--seed $(SEED)) --out chaos-long.json

soak: setup ## An hour of mixed load, a worker restarted every 20 s: does anything grow?
	@$(BIN)/python -m chaos.soak --minutes 60 $(if $(SEED),--seed $(SEED)) --out soak.json

mutations: setup ## Breaks one promise at a time, in a copy; the suite must notice each
	@$(BIN)/python -m chaos.mutations

walks: setup ## 100,000 interleavings of the state machine on rows in memory, minutes; FIRST=… others
	@$(BIN)/python -m tests.machine $(if $(FIRST),110000 $(FIRST))

unit: setup ## Only what needs no service; a minute
	@$(BIN)/python -m pytest tests/unit

lint: setup ## ruff, mypy, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

check: lint test ## lint, test and, where advisories can be had, audit: as before a commit
	@$(MAKE) --no-print-directory audit AUDIT_FLAGS=--if-reachable

# ruff's S rules, which `lint` runs, look at our own code; this looks at that of others.
audit: .venv/audit/installed ## Known vulnerabilities of what is pinned; fails too where nobody can be asked
	@.venv/audit/bin/python tools/advisories.py $(AUDIT_FLAGS) requirements-dev.txt requirements-audit.txt

# An environment of its own: 29 packages that nothing else needs.
.venv/audit/installed: requirements-audit.txt | setup
	@test -x .venv/audit/bin/python || $(BIN)/python -m venv .venv/audit
	@.venv/audit/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-audit.txt
	@touch $@

openapi: setup ## docs/openapi.json anew, after a change of the HTTP API
	@$(BIN)/python -m api.openapi_file > docs/openapi.json.new
	@mv docs/openapi.json.new docs/openapi.json

bench: setup ## Throughput, CPU a job, memory, latency of a lone job: docs/benchmarks.md
	@$(BIN)/python -m benchmarks.throughput
	@$(BIN)/python -m benchmarks.lone_job
	@$(BIN)/python -m benchmarks.webhook
	@$(BIN)/python -m benchmarks.api_lines
	@$(BIN)/python -m benchmarks.manifest

pins: ## Pin requirements*.txt anew (needs uv)
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url --no-emit-find-links --upgrade -o requirements.txt
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url --no-emit-find-links -c requirements.txt -o requirements-dev.txt
	uv pip compile pyproject.toml --extra sandbox --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url --no-emit-find-links -c requirements-dev.txt -o requirements-sandbox.txt
	echo pip-audit | uv pip compile - --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url --no-emit-find-links -o requirements-audit.txt

clean: ## Remove .venv and the embedded stack's data
	rm -rf .venv .photabatch
