"""The store of MLflow: where it is, how it is opened, and what happens if it fails.

It is ``mlflow.db`` and ``mlruns/`` in the project's folder, or the server that
``MLFLOW_TRACKING_URI`` names. What a stage writes to disk never depends on it.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from fmri2img.evaluation.metrics.catalogue import CHAMPION_SCORE
from fmri2img.project.exceptions import Fmri2imgError, UnavailableError
from fmri2img.project.locks import locked
from fmri2img.project.places import project_root
from fmri2img.tracking.chart_view import LISTED_SCORES, VIEW_TAG, chart_view, renewed
from fmri2img.tracking.store_check import (
    follow_project,
    refuse_unusable,
    relative_if_needed,
    without_password,
)

logger = logging.getLogger(__name__)
# Errors with which a store may fail: MLflow's own, the network's, the database's, a driver that is
# not installed.
STORE_ERRORS = (MlflowException, OSError, SQLAlchemyError, ImportError)
logging.getLogger("mlflow").setLevel(logging.ERROR)  # importing MLflow has set another level
EXPERIMENT, _FILES = "fmri2img", "mlruns"
_SECONDS_TO_OPEN = 120  # a new database takes six
_SCORES = ", ".join(f"`{name}`" for name in LISTED_SCORES)
_NOTE = f"""\
Encoders from visual-cortex betas to VAE latents: one run for each subject and model.

- **View "Scores"** (the button *Views* of the chart view): test scores, the same beside floors and
  ceilings (runs in the order of the list), pictures, validation, curves. A score means little
  without its floor: the best score of a prediction that knows nothing of the image. Sections
  `test`, `floor`, `floor_*`, `ceiling`, `interval`, `brain`, ... hold all others.
- Tag `changed`: the settings in which a run differs from the run before of this subject and model.
- **Columns to pick** in the table: tags `subject`, `model`, `roi`, `beta_version`, `data.source`,
  `dvc.exp_name`; metrics `{CHAMPION_SCORE}`, {_SCORES}.
- **Pictures** `pictures/<image id>`: seen, autoencoder alone, reconstructed; the same picture under
  the same key in every run.
- `report.html` in a run's artifacts has all its scores with intervals.
- The registry's `champion` of a subject was chosen on validation images, never on test images.

Tag `data.source` says whether the data are simulated.
"""
_TAGS = {
    # Without this the page opens in a mode for language models, without charts or metric columns.
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.note.content": _NOTE,
    VIEW_TAG: chart_view(()),
}


def store_uri() -> str:
    """Return the store's address; a relative one starts at the project's folder, also where DVC
    runs an experiment.
    """
    return resolved(os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db")


def resolved(uri: str) -> str:
    """Return an address in its one canonical spelling."""
    if not uri.startswith("sqlite:///"):
        return uri.rstrip("/")
    return relative_if_needed(project_root() / uri.removeprefix("sqlite:///"))


def open_store() -> tuple[mlflow.MlflowClient, str]:
    """Connect, creating database and experiment if need be; returns the client and the experiment's
    id.

    Raises
    ------
    MlflowException, OSError
        If the store cannot be reached.
    """
    refuse_unusable(store_uri())
    mlflow.set_tracking_uri(store_uri())
    with _creation(store_uri()):
        follow_project(store_uri(), project_root() / _FILES)
        client = mlflow.MlflowClient()  # makes the database
    experiment = open_experiment(client)
    mlflow.set_experiment(experiment_id=experiment)
    return client, experiment


@contextmanager
def _creation(uri: str) -> Iterator[None]:
    """Hold the lock for creating a database: several processes that created it at once would
    leave it broken.
    """
    root = project_root()
    # A server does this itself, and nobody should queue for a dead one; somebody else's project is
    # there to be looked at.
    if not uri.startswith("sqlite:") or not os.access(root, os.W_OK):
        yield
        return
    lock = locked(root / ".mlflow.lock", f"opening the store {uri}", seconds=_SECONDS_TO_OPEN)
    with ExitStack() as held:
        try:
            held.enter_context(lock)
        except UnavailableError as error:  # of the store: a training must not fail with it
            raise TimeoutError(str(error)) from error
        yield


def open_experiment(client: mlflow.MlflowClient) -> str:
    """Return the id of the project's experiment in a store; it is made if need be."""
    root = project_root()
    # A server chooses where it keeps artifacts; a database would keep them in the current folder.
    place = (
        (root / _FILES / EXPERIMENT).as_uri() if client.tracking_uri.startswith("sqlite:") else None
    )
    with _creation(client.tracking_uri):
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is not None and experiment.lifecycle_stage == "deleted":
            logger.warning("MLflow: the experiment %s had been deleted; it is restored", EXPERIMENT)
            client.restore_experiment(experiment.experiment_id)
        if experiment is not None:
            for tag in (
                _TAGS.keys() - experiment.tags.keys()
            ):  # made by an earlier version of this project
                client.set_experiment_tag(experiment.experiment_id, tag, _TAGS[tag])
            view = experiment.tags.get(VIEW_TAG, "")
            if view and renewed(view) != view:
                client.set_experiment_tag(experiment.experiment_id, VIEW_TAG, renewed(view))
            return str(experiment.experiment_id)
        try:
            return str(client.create_experiment(EXPERIMENT, artifact_location=place, tags=_TAGS))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another machine was faster
                raise
            return str(client.get_experiment_by_name(EXPERIMENT).experiment_id)


@contextmanager
def forgiving(missing: str) -> Iterator[None]:
    """Turn a failure of the store into one warning, which says what is missing there and how to
    add it later.
    """
    try:
        yield
    except Fmri2imgError:  # of the files, not of the store
        raise
    except STORE_ERRORS as error:
        reason = str(error).split("\n")[0][:200]
        logger.warning(
            "MLflow: %s is not in the store, the files on disk are complete (%s); later run: "
            "fmri2img track",
            missing,
            reason,
        )


@contextmanager
def required() -> Iterator[None]:
    """Turn a failure of the store into an error for a command that can do nothing without it."""
    try:
        yield
    except Fmri2imgError:
        raise
    except STORE_ERRORS as error:
        reason = str(error).split("\n")[0][:300]
        raise UnavailableError(
            f"MLflow store {without_password(store_uri())}: {reason}; check MLFLOW_TRACKING_URI "
            "and the server"
        ) from error


def find_run(client: mlflow.MlflowClient, experiment: str, md5: dict[str, str]) -> Run | None:
    """Return the latest run that made an encoder with these bytes; ``md5`` as `md5_tags` gives
    it, or a part of it.
    """
    runs = client.search_runs(
        [experiment],
        " and ".join(f"tags.`{tag}` = '{value}'" for tag, value in md5.items()),
        max_results=1,
    )
    return runs[0] if runs else None


def all_runs(client: mlflow.MlflowClient, experiment: str) -> list[Run]:
    """Return all runs of an experiment, the oldest first."""
    runs: list[Run] = []
    token = None
    while True:
        page = client.search_runs(
            [experiment], order_by=["attributes.start_time ASC"], max_results=500, page_token=token
        )
        runs += list(page)
        token = page.token
        if not token:
            return runs
