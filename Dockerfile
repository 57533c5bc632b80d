# Two images:
#   docker build --tag fmri2img .                              the project, without CUDA (--build-arg VARIANT=cuda: with)
#   docker build --target server --tag fmri2img-mlflow .       the team's MLflow server (compose.yaml)
ARG BASE=python:3.11-slim

FROM ${BASE} AS base
RUN useradd --create-home --uid 1000 lab
ENV DVC_NO_ANALYTICS=1 DO_NOT_TRACK=1 MLFLOW_DISABLE_TELEMETRY=true HF_HUB_DISABLE_TELEMETRY=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

FROM base AS server
WORKDIR /srv/mlflow
COPY constraints.txt .
RUN python -m pip install --constraint constraints.txt 'mlflow[auth]' 'psycopg[binary]' boto3 && chown lab .
USER lab
EXPOSE 5000
HEALTHCHECK --interval=10s --start-period=60s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:5000/health', timeout=5)"]
CMD ["mlflow", "server", "--app-name", "basic-auth", "--host", "0.0.0.0", "--port", "5000", "--workers", "2"]

FROM base AS project
RUN apt-get update && apt-get install --yes --no-install-recommends git make && rm -rf /var/lib/apt/lists/*
WORKDIR /fmri2img
RUN chown lab .
USER lab
# cpu: torch from its own index, which has wheels without CUDA, gigabytes smaller. cuda: from PyPI, like everything else.
ARG VARIANT=cpu
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# For make, here and later: this Python, and nothing that only tests need.
ENV PYTHON=python EXTRAS=
# Packages first, over an empty shell of the code: a change of the code does not install them again.
COPY --chown=lab pyproject.toml constraints.txt LICENSE Makefile ./
RUN mkdir -p src/fmri2img src/stages && touch README.md src/fmri2img/__init__.py src/stages/__init__.py \
    && python -m venv .venv \
    && if [ "$VARIANT" = cpu ]; then .venv/bin/python -m pip install --constraint constraints.txt --no-deps --index-url "$TORCH_INDEX" torch; fi \
    && make install
COPY --chown=lab . .
# What .dockerignore leaves out and git holds: simulated voxels, scores of the last demo.
RUN git restore .dockerignore demo_remote reports examples
ENV PATH=/fmri2img/.venv/bin:$PATH
HEALTHCHECK NONE
CMD ["make", "demo"]
