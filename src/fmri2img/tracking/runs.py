"""Runs and registered encoders in MLflow. A store that fails costs a warning, never a result.

A run belongs to an encoder by content: tag ``dvc.model_md5`` is the MD5 of ``model.safetensors``, which is also what
``dvc.lock`` records. No run id is kept in any output of the pipeline.
"""

import functools
import json
import logging
import os
import subprocess
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ParamSpec, Protocol

for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    # A dead server answers within seconds instead of four minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}.items():
    os.environ.setdefault(_name, _value)

import mlflow  # noqa: E402  (after the switches above)
import numpy as np  # noqa: E402
from filelock import FileLock  # noqa: E402
from mlflow.entities import Metric, Param  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.models import ModelSignature  # noqa: E402
from mlflow.types import DataType, ParamSchema, Schema, TensorSpec  # noqa: E402
from mlflow.types import ParamSpec as ServedParam  # noqa: E402

from fmri2img.files import hash_file  # noqa: E402

logger = logging.getLogger(__name__)
EXPERIMENT = "fmri2img"
_EXPERIMENT_TAGS = {
    # Without this the page opens in a mode for language models, without charts or metric columns.
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.note.content": (
        "Encoders from visual-cortex betas to VAE latents, one run for each subject and model. "
        "Compare `test/*` beside `floor_*/*` and `ceiling/*`; `validation/*` chose the champion. "
        "Tag `data.source` says whether the data are simulated."
    ),
}
_SERVED_MODEL = Path(__file__).with_name("served_encoder.py")
_REQUIRED = ("mlflow", "torch", "numpy", "safetensors", "pydantic", "PyYAML", "himalaya", "scikit-learn")
_Arguments = ParamSpec("_Arguments")


class Tracker(Protocol):
    """What a stage may tell about one encoder."""

    def log_epochs(self, records: list[dict[str, float]]) -> None:
        """Log learning curves; each record has ``epoch`` and metrics."""

    def log_metrics(self, metrics: dict[str, float]) -> None:
        """Log final numbers."""

    def log_pictures(self, pictures: dict[str, np.ndarray]) -> None:
        """Log pictures (h, w, 3), uint8, under keys that are the same in every run."""

    def log_page(self, page: str) -> None:
        """Log the page with all scores, under the same name in every run."""

    def register(self, encoder_folder: Path, *, n_voxels: int, latent_shape: tuple[int, ...], name: str, description: str) -> None:
        """Log the encoder and register it."""

    def finish(self) -> None:
        """Close the run."""


class NullTracker:
    """A tracker that forgets everything; for tests and for a store that cannot be reached."""

    def log_epochs(self, records: list[dict[str, float]]) -> None:
        """Do nothing."""

    def log_metrics(self, metrics: dict[str, float]) -> None:
        """Do nothing."""

    def log_pictures(self, pictures: dict[str, np.ndarray]) -> None:
        """Do nothing."""

    def log_page(self, page: str) -> None:
        """Do nothing."""

    def register(self, encoder_folder: Path, *, n_voxels: int, latent_shape: tuple[int, ...], name: str, description: str) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""


def _forgiving(method: Callable[_Arguments, None]) -> Callable[_Arguments, None]:
    """Turn a failure of the store into one warning."""

    @functools.wraps(method)
    def wrapped(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> None:
        try:
            method(*args, **kwargs)
        except (MlflowException, OSError) as error:
            logger.warning("MLflow: %s failed, the result on disk is complete (%s)", method.__name__, str(error).split("\n")[0][:200])

    return wrapped


@dataclass
class MlflowTracker:
    """Logs to one MLflow run.

    Attributes
    ----------
    client : MlflowClient
    run_id : str
    tags : dict of str to str
        Given to the registered version too.
    """

    client: mlflow.MlflowClient
    run_id: str
    tags: dict[str, str]

    @_forgiving
    def log_epochs(self, records: list[dict[str, float]]) -> None:
        """Log learning curves in one batch; each record has ``epoch`` and metrics."""
        now = _milliseconds()
        metrics = [
            Metric(name, float(value), now, int(record["epoch"])) for record in records for name, value in record.items() if name != "epoch"
        ]
        for start in range(0, len(metrics), 1000):  # the most that one call takes
            self.client.log_batch(self.run_id, metrics=metrics[start : start + 1000])

    @_forgiving
    def log_metrics(self, metrics: dict[str, float]) -> None:
        """Log final numbers in one batch."""
        now = _milliseconds()  # of equal times MLflow would show the larger value, not the later one
        self.client.log_batch(self.run_id, metrics=[Metric(name, float(value), now, 0) for name, value in metrics.items()])

    @_forgiving
    def log_pictures(self, pictures: dict[str, np.ndarray]) -> None:
        """Log pictures (h, w, 3), uint8."""
        for key, picture in pictures.items():
            self.client.log_image(self.run_id, picture, key=key, step=0)

    @_forgiving
    def log_page(self, page: str) -> None:
        """Log the page with all scores."""
        self.client.log_text(self.run_id, page, "report.html")

    @_forgiving
    def register(self, encoder_folder: Path, *, n_voxels: int, latent_shape: tuple[int, ...], name: str, description: str) -> None:
        """Log weights, config and code as a model, and register a version of it."""
        float32 = np.dtype("float32")
        signature = ModelSignature(
            inputs=Schema([TensorSpec(float32, (-1, n_voxels))]),
            outputs=Schema([TensorSpec(float32, (-1, *latent_shape))]),
            params=ParamSchema([ServedParam("repetitions", DataType.long, 3)]),  # trials that each row averages
        )
        # A run that ended in another process is opened again, or the model would belong to none.
        with mlflow.start_run(run_id=self.run_id), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            info = mlflow.pyfunc.log_model(
                name="encoder",
                python_model=str(_SERVED_MODEL),
                artifacts={"encoder": str(encoder_folder)},
                code_paths=[str(Path(__file__).parents[1])],
                signature=signature,
                pip_requirements=[f"{package}=={version(package)}" for package in _REQUIRED],
                registered_model_name=name,
            )
        number = info.registered_model_version
        self.client.update_registered_model(
            name, description="Betas in percent signal change, float32 (n, voxels), to Stable-Diffusion-1.5-VAE latents."
        )
        self.client.update_model_version(name, number, description=description)
        for key, value in self.tags.items():
            self.client.set_model_version_tag(name, number, key, value)

    @_forgiving
    def finish(self) -> None:
        """Mark the run as finished."""
        self.client.set_terminated(self.run_id)


def _milliseconds() -> int:
    return int(time.time() * 1000)


def open_store() -> mlflow.MlflowClient:
    """Connect to the store, creating database and experiment if need be, one process at a time.

    ``MLFLOW_TRACKING_URI`` names another store than ``mlflow.db`` in the working folder.

    Raises
    ------
    MlflowException
        If the store cannot be reached.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path('mlflow.db').resolve()}"
    mlflow.set_tracking_uri(uri)
    # Several processes that create the same database at once leave it broken.
    with FileLock(".mlflow.lock"):
        client = mlflow.MlflowClient()
        if client.get_experiment_by_name(EXPERIMENT) is None:
            client.create_experiment(EXPERIMENT, tags=_EXPERIMENT_TAGS)
    mlflow.set_experiment(EXPERIMENT)
    return client


def start_run(name: str, *, tags: dict[str, str], params: dict[str, Any]) -> Tracker:
    """Start a run.

    Parameters
    ----------
    name : str
        As shown in the list of runs.
    tags : dict of str to str
    params : dict
        Settings, already flat.

    Returns
    -------
    Tracker
        One that does nothing if the store cannot be reached.
    """
    try:
        client = open_store()
        experiment = client.get_experiment_by_name(EXPERIMENT)
        run = client.create_run(experiment.experiment_id, run_name=name, tags=tags)
        client.log_batch(run.info.run_id, params=[Param(key, str(value)) for key, value in params.items()])
    except (MlflowException, OSError) as error:
        logger.warning("MLflow: no store, going on without (%s)", str(error).split("\n")[0][:200])
        return NullTracker()
    return MlflowTracker(client, run.info.run_id, tags)


def find_run(model_md5: str) -> Tracker | None:
    """Return the tracker of the latest run that made an encoder with these bytes, or None."""
    try:
        client = open_store()
        experiment = client.get_experiment_by_name(EXPERIMENT)
        found = client.search_runs([experiment.experiment_id], f"tags.`dvc.model_md5` = '{model_md5}'", max_results=1)
    except (MlflowException, OSError) as error:
        logger.warning("MLflow: no store, going on without (%s)", str(error).split("\n")[0][:200])
        return NullTracker()
    if not found:
        return None
    return MlflowTracker(client, found[0].info.run_id, {})


def mark_champions(champions: dict[str, tuple[str, str]]) -> None:
    """Give the alias ``champion`` to the best encoder of each subject, and take it from the others.

    Parameters
    ----------
    champions : dict of str to (str, str)
        Subject to the best model's name and the MD5 of its weights.
    """
    try:
        client = open_store()
        for subject, (best, model_md5) in champions.items():
            # Every model of the subject, those no longer compared included: there is one champion.
            known = client.search_registered_models(f"name LIKE 'fmri2img-%-{subject}'")
            for registered in known:
                is_best = registered.name == registered_name(best, subject)
                _set_champion(client, registered.name, model_md5 if is_best else None)
    except (MlflowException, OSError) as error:
        logger.warning("MLflow: aliases not set, the comparison on disk is complete (%s)", str(error).split("\n")[0][:200])


def _set_champion(client: mlflow.MlflowClient, name: str, model_md5: str | None) -> None:
    versions = client.search_model_versions(f"name = '{name}'")
    chosen = [item for item in versions if model_md5 and item.tags.get("dvc.model_md5") == model_md5]
    if chosen:
        client.set_registered_model_alias(name, "champion", max(chosen, key=lambda item: int(item.version)).version)
    elif model_md5:
        logger.warning("MLflow: no version of %s has the weights on disk; its champion stays as it was. Run: dvc repro --force train", name)
    elif versions and "champion" in client.get_registered_model(name).aliases:  # the search does not fill in aliases
        client.delete_registered_model_alias(name, "champion")


def registered_name(model: str, subject: str) -> str:
    """Return the name of an encoder in the registry."""
    return f"fmri2img-{model}-{subject}"


def lineage_tags(model_weights: Path, dependencies: list[Path]) -> dict[str, str]:
    """Return tags that lead from a run to the bytes it used and the code that ran.

    Parameters
    ----------
    model_weights : Path
        Its MD5 is what ``dvc.lock`` records.
    dependencies : list of Path
        Files that the stage read.
    """
    tags = {"dvc.model_md5": hash_file(model_weights, "md5")}
    tags |= {f"dvc.dep.{path.as_posix()}": hash_file(path, "md5") for path in dependencies}
    if Path("params.yaml").exists():
        tags["params.sha256"] = hash_file(Path("params.yaml"))
    for tag, variable in {"dvc.stage": "DVC_STAGE", "dvc.exp_name": "DVC_EXP_NAME"}.items():
        if value := os.environ.get(variable):
            tags[tag] = value
    if commit := _git("rev-parse", "HEAD"):
        tags["git.commit"] = commit
        tags["git.dirty"] = str(bool(_git("status", "--porcelain", "--untracked-files=no"))).lower()
    return tags


def _git(*arguments: str) -> str:
    """Return what git prints, or nothing where there is no git or no repository."""
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def encoder_run(
    config: dict[str, Any], folder: Path, dependencies: list[Path], records: list[dict[str, float]], metrics: dict[str, float]
) -> Tracker:
    """Log a trained encoder: settings, curves, validation scores, lineage, and a registered version.

    Parameters
    ----------
    config : dict
        The encoder's, as saved with it; ``about`` becomes tags.
    folder : Path
        Holds weights and config.
    dependencies : list of Path
        Files that training read.
    records : list of dict
        One an epoch.
    metrics : dict of str to float

    Returns
    -------
    Tracker
        Of the open run.
    """
    about = config["about"]
    subject, model = about["subject"], config["model"]
    tags = {**{key: str(value) for key, value in about.items()}, "model": model}
    tags |= lineage_tags(folder / "model.safetensors", dependencies)
    params = {"model": model, "n_voxels": config["n_voxels"], **about}
    params |= {f"{model}.{key}": value for key, value in config["settings"].items()}
    tracker = start_run(f"{subject}-{model}", tags=tags, params=params)
    tracker.log_epochs(records)
    tracker.log_metrics(metrics)
    tracker.register(
        folder,
        n_voxels=config["n_voxels"],
        latent_shape=tuple(config["latent_shape"]),
        name=registered_name(model, subject),
        description=_describe(about, config["n_voxels"], metrics),
    )
    return tracker


def find_or_restore_run(folder: Path, dependencies: list[Path], metrics: dict[str, float]) -> Tracker:
    """Return the run that made an encoder; if the store has none, log the encoder anew, tagged as restored.

    Parameters
    ----------
    folder, dependencies, metrics
        As `encoder_run` takes them.
    """
    tracker = find_run(hash_file(folder / "model.safetensors", "md5"))
    if tracker is not None:
        return tracker
    config = json.loads((folder / "config.json").read_text())
    config["about"] |= {"restored": "true"}
    return encoder_run(config, folder, dependencies, [], metrics)


def _describe(about: dict[str, Any], n_voxels: int, metrics: dict[str, float]) -> str:
    scores = ", ".join(f"{name} {value:.3f}" for name, value in metrics.items() if name.startswith("validation/"))
    warning = "SIMULATED DATA, not brain data. " if about["data.source"] == "simulated" else ""
    return f"{warning}{about['subject']}, {about['roi']} ({n_voxels} voxels), {about['beta_version']} {about['func_space']}; {scores}."
