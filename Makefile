# `make` lists the commands.

PYTHON_IN_VENV := .venv/bin/python
LOCK := $(PYTHON_IN_VENV) -m piptools compile --quiet --allow-unsafe --strip-extras --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host
# A worker for each core, with servers of its own; tests/parallel.py says which tests stay together.
IN_PARALLEL := --numprocesses=auto --maxprocesses=4 --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-unit coverage test-integration e2e e2e-full gitops bench bench-quick neighbours cases check docs generate build-programs image sbom wheels plugin plugin-picture lock audit clean

help: ## List the commands.
	@echo "Usage: make COMMAND. Each one sets up what it needs."
	@echo
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do \
		printf '%-18s %s\n' "$$name" "$$text"; done

setup: .venv/.ready ## Make .venv with the locked packages; does nothing when they are there.

.venv/.ready: requirements/dev.txt pyproject.toml dev/setup.sh
	@dev/setup.sh

demo: setup ## Show it at work on a real cluster, until Ctrl-C. DEMO_ONCE=1 ends by itself; DEMO_CONTEXT=name uses your cluster.
	@$(PYTHON_IN_VENV) -m dev.demo

test: setup ## Run every check and test; the first time it builds a cluster's programs (15 to 20 minutes) meanwhile.
	@echo "==> Checks, unit and integration tests; what the cluster tests need is built meanwhile"
	@$(PYTHON_IN_VENV) -m pytest $(IN_PARALLEL) $(PYTEST_ARGS)

test-unit: setup ## Run the tests that need no server at all; under 15 seconds.
	@$(PYTHON_IN_VENV) -m pytest tests/unit tests/conformance -m "not apiserver and not postgres" $(IN_PARALLEL) $(PYTEST_ARGS)

coverage: setup ## Report what the tests without a server leave out, and write build/coverage; PYTEST_ARGS=tests/integration adds those.
	@$(PYTHON_IN_VENV) -m pytest tests/unit tests/conformance -m "not apiserver and not postgres" $(IN_PARALLEL) \
		--cov --cov-report=term --cov-report=html $(PYTEST_ARGS)

test-integration: setup ## Run the tests that need Postgres and Redis, but no cluster and no build; a few minutes.
	@$(PYTHON_IN_VENV) -m pytest tests/integration tests/conformance dev/localkind/tests -m "not apiserver and not node" $(IN_PARALLEL) $(PYTEST_ARGS)

e2e: setup ## Run the tests in pods: install by Helm, apply, upgrade under load, uninstall, install again.
	@$(PYTHON_IN_VENV) -m pytest tests/e2e dev/localkind/tests/test_nodes.py $(PYTEST_ARGS)

e2e-full: e2e ## The same, and every test with an API server on the oldest Kubernetes as well; another 15 minutes of building once.
	@FLAGSCHEDULE_KUBERNETES=oldest $(PYTHON_IN_VENV) -m pytest -m "apiserver and not flux" $(IN_PARALLEL) $(PYTEST_ARGS)

gitops: setup ## Apply files from Git by Flux's own controllers; about 7 minutes, and up to 15 more to build them once.
	@$(PYTHON_IN_VENV) -m pytest tests/gitops -m flux $(PYTEST_ARGS)

bench: setup ## Measure everything, also other queues for comparison, on a cluster and with an API server; an hour on a quiet machine.
	@$(PYTHON_IN_VENV) -m benchmarks $(BENCH_ARGS)

bench-quick: setup ## Measure the processor, alone and next to other queues, with smaller sizes; under five minutes.
	@$(PYTHON_IN_VENV) -m benchmarks --quick processor scale peers $(BENCH_ARGS)

neighbours: setup ## Measure what one tenant's trouble does to another, into docs/explanation/neighbours.md; under 25 minutes on a quiet machine.
	@$(PYTHON_IN_VENV) -m tests.neighbours all $(NEIGHBOURS_ARGS)

cases: setup ## Try all values, settings and words that others can write, into docs/explanation/surroundings.md; an hour on two cores that do other work, too.
	@$(PYTHON_IN_VENV) -m tests.cases columns originals settings poolers fuzz objects calendars --into docs/explanation/surroundings.md $(CASES_ARGS)

check: setup ## Run linter, format check, type checker, import contracts and the checks of words, of the site and of CI's workflows.
	@$(PYTHON_IN_VENV) -m dev.check

docs: setup ## Build the site of the documentation into build/site.
	@$(PYTHON_IN_VENV) -m dev.pages build/site
	@echo "==> build/site/index.html"

build-programs: setup ## Build the cluster's programs and the image now (once; 15 to 20 minutes).
	@echo "==> The cluster's programs"
	@$(PYTHON_IN_VENV) -m dev.localkind build
	@echo "==> The image"
	@$(PYTHON_IN_VENV) -m dev.image build

image: setup ## Build the image localhost/flagschedule:dev with Docker, or with buildah where no Docker runs.
	@$(PYTHON_IN_VENV) -m dev.image build

sbom: image ## Build the image and write its contents to dist/sbom.cdx.json (CycloneDX).
	@$(PYTHON_IN_VENV) -m dev.image sbom dist/sbom.cdx.json

wheels: setup ## Check that the index has every locked wheel for amd64 and arm64 and Python 3.11 to 3.14; two minutes.
	@$(PYTHON_IN_VENV) -m dev.image wheels

plugin: setup ## Build the plugin for kubectl, one executable file, and its manifest for krew into dist/.
	@PLUGIN_RELEASES=$(or $(PLUGIN_RELEASES),https://example.com/flagschedule) $(PYTHON_IN_VENV) -m dev.plugin

plugin-picture: setup ## Take pictures of the plugin's HTML timeline with a headless Chromium, wide and narrow, into build/.
	@$(PYTHON_IN_VENV) -m dev.timeline picture

generate: setup ## Write the generated parts of the documentation and of the chart, and manifests/base from the chart.
	@$(PYTHON_IN_VENV) -m dev.generate
	@$(PYTHON_IN_VENV) -m dev.reference
	@$(PYTHON_IN_VENV) -m dev.timeline
	@$(PYTHON_IN_VENV) -m dev.chart

lock: setup ## Lock the newest allowed versions in requirements/, with hashes. Run it with Python 3.11, the oldest.
	@echo "==> requirements/runtime.txt"
	@$(LOCK) --upgrade --output-file=requirements/runtime.txt pyproject.toml
	@echo "==> requirements/dev.txt"
	@$(LOCK) --upgrade --constraint=requirements/runtime.txt --output-file=requirements/dev.txt pyproject.toml requirements/dev.in
	@echo "==> requirements/build.txt"
	@$(LOCK) --upgrade --constraint=requirements/dev.txt --only-build-deps --build-deps-for=wheel --output-file=requirements/build.txt pyproject.toml
	@echo "==> requirements/bench.txt"
	@$(LOCK) --upgrade --constraint=requirements/runtime.txt --output-file=requirements/bench.txt requirements/bench.in
	@echo "==> requirements/audit.txt"
	@$(LOCK) --upgrade --output-file=requirements/audit.txt requirements/audit.in

audit: setup ## Look up known vulnerabilities of what the image and the plugin contain. Needs the advisories' server.
	@echo "==> Installing pip-audit into build/audit"
	@$(PYTHON_IN_VENV) -m venv --clear build/audit
	@build/audit/bin/python -m pip install --quiet --require-hashes --only-binary :all: --requirement requirements/audit.txt
	@build/audit/bin/pip-audit --strict --disable-pip --require-hashes --requirement requirements/runtime.txt

clean: ## Remove .venv and everything generated here. What was built stays in the cache, outside of the repository.
	@echo "==> Removing .venv, build, dist and the tools' caches"
	@rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "The programs stay in $${FLAGSCHEDULE_CACHE:-$${XDG_CACHE_HOME:-~/.cache}/flagschedule}: remove that folder to build them again."
