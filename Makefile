# Every task of the project; `make` lists them. CI and the README use only these.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
# torch's CPU build is on PyTorch's own index; empty takes it from wherever pip is set up to look.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
PORT ?= 8000

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check
TORCH := $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==2.13.0

data := $(if $(DATA),--data "$(DATA)")
name := $(if $(NAME),--name "$(NAME)")
model := $(or $(NAME),$(patsubst %.csv,%,$(patsubst %.gz,%,$(notdir $(or $(DATA),hours.csv)))))
export PORT MODEL_NAME RUNTIME

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'
	@echo "  settings: DATA=my.csv TARGET=column NAME=model ARGS='--solver newton ...' MODEL_NAME= RUNTIME=onnx PORT=8000"

.PHONY: demo
demo: train export ## train, export, serve, show a prediction, and go on serving (Ctrl-C stops)
	@MODEL_NAME="$(model)" $(PY) deploy/demo.py

.PHONY: train
train: $(VENV)/train ## fit a model: DATA, TARGET, NAME, ARGS; without them, the lecture's
	@$(PY) -m train fit $(data) $(if $(TARGET),--target "$(TARGET)") $(name) $(ARGS)

.PHONY: export
export: $(VENV)/train ## prove the trained model and publish it to models/: DATA or NAME
	@$(PY) -m train export $(data) $(name)

.PHONY: parity
parity: $(VENV)/train ## prove the newest export again, on this machine, and print the table: DATA or NAME
	@$(PY) -m train parity $(data) $(name)

.PHONY: conform
conform: $(VENV)/train ## replay the newest export's examples, same bytes, in OpenVINO and ONNX's reference: DATA or NAME
	@$(PIP) openvino==2026.4.1 && $(PY) -m train conform $(data) $(name)

.PHONY: report
report: $(VENV)/train ## say where the newest export's report is, and open it: DATA or NAME
	@$(PY) -m train report $(data) $(name)

.PHONY: lesson
lesson: $(VENV)/train ## walk through the lecture, into lesson.png
	@$(PY) -m train lesson

.PHONY: compare
compare: $(VENV)/train ## cross-validate losses, optimizers, activations: DATA, ARGS='--losses all'
	@$(PY) -m train compare $(data) $(ARGS)

.PHONY: serve
serve: $(VENV)/train ## answer on PORT: MODEL_NAME, RUNTIME=onnx or torchscript
	@$(PY) -m serve

.PHONY: use
use: $(VENV)/train ## serve a certain version from now on, at once: VERSION=3, or VERSION=highest; MODEL_NAME
	@$(PY) -m serve use "$(VERSION)"

.PHONY: test
test: $(VENV)/test lint ## all tests but Docker's
	@$(PY) -m pytest -q -m "not docker" -n auto --maxprocesses 4 --dist loadscope

.PHONY: page-shots
page-shots: $(VENV)/test ## write docs/page.png, the page as a browser shows it (needs chromium): MODEL_NAME, QUERY
	@mkdir -p docs && $(PY) -m tests.browser.shots docs/page.png "$(QUERY)"

.PHONY: test-docker
test-docker: $(VENV)/test ## build and run the images with a Docker engine
	@TORCH_INDEX="$(TORCH_INDEX)" $(PY) -m pytest -q -m docker

.PHONY: bench bench-quick
bench: $(VENV)/train $(VENV)-bench/peers ## the service beside other servers, a quarter of an hour (needs wrk)
	@$(VENV)-bench/bin/python bench/serve.py --python $(PY)

bench-quick: $(VENV)/train $(VENV)-bench/peers ## the same in about a minute: ratios only roughly
	@$(VENV)-bench/bin/python bench/serve.py --python $(PY) --rounds 1 --seconds 1 --json $(VENV)-bench/quick.json

.PHONY: bench-train
bench-train: $(VENV)/bench-train ## the trainer beside scikit-learn, three minutes: ARGS='--rows 1000000 --columns 20'
	@$(PY) bench/train.py --json $(VENV)/bench-train.json $(ARGS)

.PHONY: lint
lint: $(VENV)/test ## style
	@$(VENV)/bin/ruff check --quiet . && $(VENV)/bin/ruff format --quiet --check .

.PHONY: lock
lock: ## resolve requirements/*.txt anew (needs uv)
	@resolve() { uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-annotate --no-header --excludes requirements/exclude.txt pyproject.toml "$$@"; }; \
	resolve -o requirements/serve.txt; \
	resolve -o requirements/torchscript.txt -c requirements/serve.txt requirements/torch.in; \
	resolve -o requirements/train.txt -c requirements/torchscript.txt requirements/torch.in --extra train; \
	resolve -o requirements/test.txt -c requirements/train.txt requirements/torch.in --extra train --extra test

.PHONY: clean
clean: ## remove the virtual environment and caches, not the models
	@rm -rf $(VENV) $(VENV)-bench .pytest_cache .ruff_cache .hypothesis checkpoints; find . -name __pycache__ -prune -exec rm -rf {} +

# Stamps: each set is installed once, and again when its lock changes.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info < (3, 14); \
	ok or sys.exit("passfail needs Python 3.11 to 3.13; this is " + sys.version.split()[0] + ": make PYTHON=python3.12 ...")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/train: requirements/train.txt | $(VENV)/bin/python
	@echo "installing the training set into $(VENV) ..."
	@$(PIP) --require-hashes -r $< && $(PIP) --no-deps $(TORCH) && touch $@

$(VENV)/test: requirements/test.txt | $(VENV)/train
	@echo "installing the test set into $(VENV) ..."
	@$(PIP) --require-hashes -r $< && touch $@

$(VENV)/bench-train: bench/requirements.txt | $(VENV)/train
	@echo "installing pandas and scikit-learn into $(VENV) ..."
	@$(PIP) -r $< && touch $@

# The peers of the bench have an environment of their own: nothing of theirs can reach the service's.
$(VENV)-bench/peers: bench/peers.txt requirements/serve.txt | $(VENV)/bin/python
	@echo "installing the bench's peers into $(VENV)-bench ..."
	@$(PYTHON) -m venv $(VENV)-bench
	@$(VENV)-bench/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/serve.txt
	@$(VENV)-bench/bin/pip install --quiet --disable-pip-version-check -r bench/peers.txt && touch $@
