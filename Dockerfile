FROM python:3.11-slim
RUN apt-get update && apt-get install --yes --no-install-recommends git make && rm -rf /var/lib/apt/lists/*
WORKDIR /fmri2img
ENV DVC_NO_ANALYTICS=1 DO_NOT_TRACK=1 MLFLOW_DISABLE_TELEMETRY=true HF_HUB_DISABLE_TELEMETRY=1
# Packages first, over an empty shell of the code: a change of the code does not install them again.
COPY pyproject.toml constraints.txt README.md LICENSE Makefile ./
RUN mkdir -p src/fmri2img src/stages && touch src/fmri2img/__init__.py src/stages/__init__.py && make install PYTHON=python
COPY . .
ENV PATH=/fmri2img/.venv/bin:$PATH
CMD ["make", "demo", "PYTHON=python"]
