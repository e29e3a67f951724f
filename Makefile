# Every target does its own set-up. The only tools assumed are Python >= 3.11 with pip, git and make.
PYTHON ?= python3
VENV   ?= .venv
READY  := $(VENV)/.ready
PY     := $(VENV)/bin/python
# Processes that share the tests out
WORKERS ?= 2
# The commands that need nothing that only POSIX systems have
COMMANDS := $(patsubst src/score/cli/%.py,-m score.cli.%,$(filter-out %/__init__.py %/mount.py %/daemon.py,$(wildcard src/score/cli/*.py)))
# Extra arguments for pytest: make test ARGS="-k part_arithmetic"
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help demo test check bench docs dist images components lock clean

help: ## This list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(READY) ## The main job: real files go up, are published, come down again and are verified
	@$(PY) tools/demo.py

test: $(READY) ## The tests (SCORE_REQUIRE=all: a missing real component is a failure)
	$(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(READY) ## Formatting, lint, types, import rules, the tree, dependencies
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/mypy --platform win32 -p score.client -p score.transfer -p score.config -p score.protocol $(COMMANDS)
	$(VENV)/bin/lint-imports
	$(PY) tools/tree.py
	$(PY) tools/audit.py

bench: $(READY) ## The figures, next to other tools on the same store; results in benchmarks/results/
	$(PY) benchmarks/run.py

docs: $(READY) ## The documentation as a site, in build/docs/
	$(VENV)/bin/sphinx-build -b html -n -W --keep-going -q -j auto -c docs -d build/doctrees . build/docs
	@echo "build/docs/index.html"

dist: $(READY) ## What a release consists of, in dist/: sources, wheel, SBOM, checksums
	$(PY) tools/dist.py

images: $(READY) ## The images score-server and score-client, by Docker
	VERSION=$$($(VENV)/bin/hatchling version) && for name in server client; do \
	    docker build -f deploy/Dockerfile --target $$name --build-arg VERSION=$$VERSION \
	        --build-arg COMMIT=$$(git describe --always --exclude='*' --abbrev=12 --dirty) -t score-$$name . || exit; \
	done

components: $(READY) ## Install the real components that tests run against, into a cache outside the checkout
	$(PY) tools/components.py install

lock: $(READY) ## Renew the pinned dependencies in requirements/
	sh tools/lock.sh

clean: ## Remove the virtual environment, what was built, and caches of the tools
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(READY): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Score needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another: make PYTHON=python3.12 ...")'
	@echo "Setting up $(VENV) (once)"
	@$(PYTHON) -m venv $(VENV)
	@$(PY) -m pip --disable-pip-version-check install --quiet --require-hashes -r requirements/dev.txt
	@$(PY) -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation -e .
	@touch $@
