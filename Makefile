# Needs Python 3.11 to 3.13, git and make; everything else goes into .venv. PYTHON=/path takes that one.
VENV := .venv
# Stages call "python": the one of the environment, wherever make was started.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export DVC_NO_ANALYTICS := 1
export DO_NOT_TRACK := 1
export MLFLOW_DISABLE_TELEMETRY := true
export HF_HUB_DISABLE_TELEMETRY := 1
UI_PORT ?= 5000
# Empty: without what tests and linters need.
EXTRAS ?= [dev]
READY := $(VENV)/.ready
# torchvision for the tests of scoring networks, out of the environment: the pipeline must run, and start fast, without it.
NETWORKS := $(VENV)/networks

.DEFAULT_GOAL := help
.PHONY: help install demo summary ui test test-unit test-slow audit goldens check format docs licences release demo-vae ncsnr benchmark quality share pull demo-remote clean

help:  ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt
	$(VENV)/bin/python -m pip --version >/dev/null 2>&1 || { \
		python=$$(PYTHON="$(PYTHON)" scripts/find_python.sh) && $$python -m venv --clear $(VENV); }
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.$(EXTRAS)'
	# By itself: it asks for the nibabel of 2020, and works with today's.
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps nsdcode
	touch $(READY)

install: $(READY)  ## create .venv with the pinned packages

demo: $(READY)  ## run the whole pipeline on simulated data and say what to open
	@fmri2img repro
	@python scripts/show_summary.py

summary: $(READY)  ## print the scores of the last comparison again
	@python scripts/show_summary.py

ui: $(READY)  ## serve MLflow on the runs of this folder (UI_PORT=5000)
	@fmri2img check
	@ls -d models/subj*/ >/dev/null 2>&1 || { echo "no encoders yet; run: make demo"; exit 1; }
	@fmri2img track
	@test -z "$$MLFLOW_TRACKING_URI" || { echo "your runs are at $$MLFLOW_TRACKING_URI (MLFLOW_TRACKING_URI): open it there"; exit 1; }
	@echo "http://127.0.0.1:$(UI_PORT)/#/experiments/1/runs?compareRunsMode=CHART&workflowType=machine_learning&viewStateShareKey=scores"
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow server --host 127.0.0.1 --port $(UI_PORT) --workers 1 --backend-store-uri sqlite:///mlflow.db

share: $(READY)  ## push receipts, voxels, examples and latents to your group's remote (REMOTE=lab, ARGS=--members-only)
	fmri2img share $(if $(REMOTE),--remote $(REMOTE)) $(ARGS)

pull: $(READY)  ## pull them (REMOTE=lab)
	fmri2img pull $(if $(REMOTE),--remote $(REMOTE)) $(ARGS)

demo-remote: $(READY)  ## put the voxels of the last demo into the small remote that git holds
	python scripts/fill_demo_remote.py

$(NETWORKS)/.ready: $(READY)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps --upgrade --target $(NETWORKS) torchvision
	touch $@

# A process a core, of one thread: two threads each would wait for one another.
PYTEST := HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test-unit: $(READY)  ## the quick tests: no process is started and no server
	$(PYTEST) -m "not slow and not networks and not functional" tests/unit

test: $(NETWORKS)/.ready  ## all tests but the slow ones, offline
	@# Two processes: what needs torchvision has it, and nothing else does.
	@HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 PYTHONPATH=$(CURDIR)/$(NETWORKS):$$PYTHONPATH pytest -m networks tests/unit >$(NETWORKS)/tests.log 2>&1 & networks=$$!; \
	$(PYTEST) -m "not slow and not networks"; rest=$$?; \
	wait $$networks; networks=$$?; cat $(NETWORKS)/tests.log; test $$rest$$networks = 00

test-slow: $(READY)  ## what takes longer still: whole pipelines twice, the demo's data, killed servers
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 pytest -m slow

audit: $(READY)  ## ask pypi.org for known vulnerabilities of the versions in constraints.txt
	$(VENV)/bin/python -m venv $(VENV)/audit && $(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	$(VENV)/audit/bin/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

goldens: $(READY)  ## make the golden results of tests/golden anew, and print what changes (KINDS="help errors")
	python tests/golden/regenerate.py $(KINDS)

check: $(READY)  ## lint, types, spelling and import contracts
	ruff check . && ruff format --check . && mypy && codespell && lint-imports

format: $(READY)  ## bring the code into shape
	ruff check --fix . && ruff format .

docs: $(READY)  ## build the documentation into site/; its examples run if there are results here
	sphinx-build -W --keep-going --quiet -c docs . site
	@echo "site/index.html"

licences: $(READY)  ## list the licences of all pinned packages (docs/licences.md, sbom.cdx.json)
	python scripts/list_packages.py

release: $(READY)  ## make a release: VERSION=0.3.0 (changelog, packages tried with every Python, tag)
	python scripts/release.py $(VERSION)

demo-vae: $(READY)  ## train the autoencoder of models/demo-vae anew (about an hour on 2 cores)
	python scripts/train_demo_vae.py

ncsnr: $(READY)  ## spectra of the scenes; noise ceilings of all eight subjects beside the published ones
	python scripts/measure_simulation.py

benchmark: $(READY)  ## measure beside today's ways of reading NSD and of training (over an hour, 10 GB in /tmp)
	python benchmarks/extraction.py
	python benchmarks/full_design.py
	python benchmarks/evaluation.py
	python benchmarks/training.py
	python benchmarks/real_size.py
	python benchmarks/new_person.py
	python benchmarks/serving.py
	python benchmarks/steering.py

QUALITY ?= /tmp/fmri2img-quality
quality: $(READY)  ## train every encoder on simulated subjects and tabulate (hours, goes on where it stopped; PHOTOS=folder, QUALITY=folder)
	python benchmarks/quality.py --work $(QUALITY) $(if $(PHOTOS),--photos $(PHOTOS))

clean:  ## remove what the pipeline made (raw files, outputs, cache, runs), keep the environment
	@test ! -e data/raw || test -e data/raw/SIMULATED.txt || echo "data/raw holds no simulated files and is kept; delete it yourself"
	test ! -e data/raw/SIMULATED.txt || rm -rf data/raw
	rm -rf data/truth data/prior data/population data/fingerprints data/receipts data/rois data/voxels data/examples data/ood data/splits data/latents data/captions data/targets data/reconstructions
	rm -rf reports/comparison.md reports/comparison.png reports/comparison.html reports/runs reports/gallery reports/scores reports/repetitions reports/latent_maps models/subj* logs .checkpoints
	rm -rf mlflow.db* .mlflow.lock* mlruns mlartifacts .verified .dvc/cache accepted.json
