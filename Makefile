# Needs Python 3.11, git and make; everything else goes into .venv.
PYTHON ?= python3.11
VENV := .venv
# Stages call "python": the one of the environment, wherever make was started.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export DVC_NO_ANALYTICS := 1
export DO_NOT_TRACK := 1
export MLFLOW_DISABLE_TELEMETRY := true
export HF_HUB_DISABLE_TELEMETRY := 1
UI_PORT ?= 5000
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help install demo summary ui test test-slow check format demo-vae ncsnr clean

help:  ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

install: $(READY)  ## create .venv with the pinned packages

demo: $(READY)  ## run the whole pipeline on simulated data and say what to open
	dvc repro
	@python scripts/show_summary.py

summary: $(READY)  ## print the scores of the last comparison again
	@python scripts/show_summary.py

ui: $(READY)  ## open MLflow on the runs of this folder, at http://127.0.0.1:5000
	@echo "http://127.0.0.1:$(UI_PORT)/#/experiments/1/runs?compareRunsMode=CHART&workflowType=machine_learning"
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow server --host 127.0.0.1 --port $(UI_PORT) --workers 1 --backend-store-uri sqlite:///mlflow.db

test: $(READY)  ## run the tests, offline, in a few minutes
	HF_HUB_OFFLINE=1 pytest -m "not slow"

test-slow: $(READY)  ## run the tests that take minutes
	HF_HUB_OFFLINE=1 pytest -m slow

check: $(READY)  ## lint, types, spelling and import contracts
	ruff check . && ruff format --check . && mypy && codespell && lint-imports

format: $(READY)  ## bring the code into shape
	ruff check --fix . && ruff format .

demo-vae: $(READY)  ## train the autoencoder of models/demo-vae anew (about an hour on 2 cores)
	python scripts/train_demo_vae.py

ncsnr: $(READY)  ## noise ceilings of the simulated betas beside the published ones, all eight subjects
	python scripts/measure_simulation.py

clean:  ## remove what the pipeline made (raw files, outputs, runs), keep the environment
	rm -rf data/raw data/receipts data/rois data/voxels data/examples data/splits data/latents data/reconstructions
	rm -rf reports models/subj* logs .checkpoints mlflow.db mlruns mlartifacts
