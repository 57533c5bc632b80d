"""Register a version of an encoder: log it as a model with its code, and describe it."""

import shutil
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import yaml
from mlflow.entities import LoggedModel
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import DataType, ParamSchema, ParamSpec, Schema, TensorSpec

from fmri2img.evaluation.metrics.catalogue import headline_metrics, title_of
from fmri2img.evaluation.metrics_document import MetricsDocument
from fmri2img.evaluation.table_rows import MODEL
from fmri2img.models.registry import CONFIG_NAME, WEIGHTS_NAME, model_class
from fmri2img.project.files import hash_file
from fmri2img.tracking.versions import FOLDER, Registered, find_version, registered_name

_SERVED_MODEL = Path(__file__).with_name("served_encoder.py")


# Everything that served_encoder.py imports; a test loads a model with no other code at hand.
_SERVED_CODE = [
    *("__init__.py", "project/*.py", "models/*.py"),
    *(
        "pretrained/__init__.py",
        "pretrained/autoencoder.py",
        "pretrained/finite.py",
        "pretrained/loading.py",
        "generation/__init__.py",
        "generation/decode.py",
    ),
]


# MLflow puts the copy first on the import path.
_FIND_THE_REST = """
# What this copy lacks is taken from the installed package, where there is one.
__path__ = __import__("pkgutil").extend_path(__path__, __name__)
"""


_REQUIRED = (
    "mlflow",
    "torch",
    "numpy",
    "safetensors",
    "pydantic",
    "PyYAML",
    "himalaya",
    "scikit-learn",
    "diffusers",
    "pillow",
)


def register(
    client: mlflow.MlflowClient,
    run_id: str,
    folder: Path,
    config: dict[str, Any],
    tags: dict[str, str],
) -> None:
    """Log weights, config and code as a model, and register a version of it, unless there is one
    with the same bytes.

    Parameters
    ----------
    client : MlflowClient
    run_id : str
    folder : Path
        Folder that holds weights and config.
    config : dict
    tags : dict of str to str
        Tags of the version, the MD5 of the weights among them.
    """
    name = registered_name(config["model"], tags["subject"])
    known = find_version(client, name, tags)
    if known is not None and _has_files(client, known):
        return
    files = {file: hash_file(folder / file, "md5") for file in (WEIGHTS_NAME, CONFIG_NAME)}
    with tempfile.TemporaryDirectory() as temporary:
        served, code = Path(temporary) / FOLDER, _copy_code(Path(temporary))
        served.mkdir()
        for file in files:  # only what serving needs
            shutil.copyfile(folder / file, served / file)
        model = {
            "python_model": str(_SERVED_MODEL),
            "artifacts": {FOLDER: str(served)},
            "code_paths": [str(code)],
            "signature": _signature(config),
            "model_config": {"md5": files},
            "pip_requirements": [f"{package}=={version(package)}" for package in _REQUIRED],
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if known is not None:
                again = Path(temporary) / "again"
                mlflow.pyfunc.save_model(again, **model)
                log_files(client, client.get_logged_model(_model_id(known)), again, run_id)
                return
            # Reopen a run that ended in another process, or the model would belong to no run.
            with mlflow.start_run(run_id=run_id):
                info = mlflow.pyfunc.log_model(name=f"{tags['subject']}-{config['model']}", **model)
    try:
        client.create_registered_model(
            name,
            description="Betas in percent signal change, float32 (n, voxels), to latents of Stable "
            "Diffusion's VAE, or to pictures.",
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    text = _description(config, None)
    client.create_model_version(
        name, info.model_uri, run_id, tags=tags, description=text, model_id=info.model_id
    )


def _signature(config: dict[str, Any]) -> ModelSignature:
    float32 = np.dtype("float32")
    return ModelSignature(
        inputs=Schema([TensorSpec(float32, (-1, config["n_voxels"]))]),
        outputs=Schema([TensorSpec(float32, (-1, *config["latent_shape"]))]),
        params=ParamSchema(
            [
                # Trials that each row averages.
                ParamSpec("repetitions", DataType.long, config["about"]["n_repetitions"]),
                ParamSpec("output", DataType.string, "latents"),
                ParamSpec("allow_missing", DataType.boolean, False),
            ]
        ),
    )


def linked_model(client: mlflow.MlflowClient, config: dict[str, Any], tags: dict[str, str]) -> str:
    """Return the id of the logged model of an encoder, to link scores with it, so that MLflow ranks
    models by them; empty if there is none.

    Parameters
    ----------
    client, config, tags
        As `register` takes them.
    """
    known = find_version(client, registered_name(config["model"], tags["subject"]), tags)
    return _model_id(known) if known is not None else ""


def _model_id(known: Registered) -> str:
    """Return the id of the logged model behind a version; empty for one of earlier MLflows."""
    return known.source.removeprefix("models:/") if known.source.startswith("models:/") else ""


def _has_files(client: mlflow.MlflowClient, known: Registered) -> bool:
    """Whether the files of a version are there; its entry may outlive them."""
    model_id = _model_id(known)
    if not model_id:
        return True
    try:
        files = client.list_logged_model_artifacts(model_id, f"artifacts/{FOLDER}")
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return True  # deleted in MLflow, on purpose
    return {WEIGHTS_NAME, CONFIG_NAME} <= {Path(file.path).name for file in files}


def log_files(client: mlflow.MlflowClient, model: LoggedModel, folder: Path, run_id: str) -> None:
    """Put the files of a logged model in a store, whose own ids and place they name."""
    description = folder / "MLmodel"
    values = yaml.safe_load(description.read_text(encoding="utf-8"))
    values |= {
        "run_id": run_id,
        "model_id": model.model_id,
        "artifact_path": model.artifact_location,
    }
    description.write_text(yaml.safe_dump(values), encoding="utf-8")
    client.log_model_artifacts(model.model_id, str(folder))


def _copy_code(folder: Path) -> Path:
    """Copy the part of this package that serving needs: on a distant server each file of a model
    costs a second.
    """
    package = Path(__file__).parents[1]
    for name in _SERVED_CODE:
        for path in package.glob(name):
            target = folder / package.name / path.relative_to(package)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    with (folder / package.name / "__init__.py").open("a") as file:
        file.write(_FIND_THE_REST)
    return folder / package.name


def describe(
    client: mlflow.MlflowClient,
    config: dict[str, Any],
    tags: dict[str, str],
    document: MetricsDocument,
) -> None:
    """Put test scores with intervals into the description of a version.

    Parameters
    ----------
    client, config, tags
        As `register` takes them.
    document : MetricsDocument
    """
    name = registered_name(config["model"], tags["subject"])
    version = find_version(client, name, tags)
    if version is not None:
        client.update_model_version(
            name, version.number, description=_description(config, document)
        )


def _description(config: dict[str, Any], document: MetricsDocument | None) -> str:
    about = config["about"]
    lines = ["**SIMULATED DATA, not brain data.**"] if about["data.source"] == "simulated" else []
    decoded = {
        "latents": f"latents of {about['autoencoder']}",
        "population": f"latents of {about['autoencoder']}, with voxel priors of "
        f"{about.get('population')}",
        "pixels": "pictures of its own decoder",
        "diffusion": f"z and c of {about.get('diffusion')}",
    }[model_class(config["model"]).kind]
    lines += [
        f"**Data**: {about['subject']}, {about['roi']} ({config['n_voxels']} voxels), "
        f"{about['beta_version']}, {about['func_space']}, "
        f"{about['sessions']} sessions, {about['n_train_images']} training images; {decoded}."
    ]
    if document is None:
        lines += ["**Test scores**: not evaluated yet."]
    else:
        scores = [_score_text(document, metric) for metric in headline_metrics()]
        lines += [
            f"**Test scores**, {document.n_images} images, 95 % intervals over images, floor in "
            f"brackets: {'; '.join(filter(None, scores))}."
        ]
    if document is not None and document.origin:
        lines += [f"**Dataset**: {document.origin}"]
    lines += [
        "**Limits**: for this subject's voxels, in this order, in percent signal change; pictures "
        "of 128 x 128; intervals say nothing "
        "about other people or sessions."
    ]
    return "\n\n".join(lines)


def _score_text(document: MetricsDocument, metric: str) -> str:
    """Return one score in words; nothing if the encoder has none."""
    score, floor = document.rows[MODEL].get(metric), document.floor(metric)
    if score is None or score.low is None or score.high is None or floor is None:
        return ""
    ends = f"[{score.low:.3f}, {score.high:.3f}]"
    return f"{title_of(metric)} {score.value:.3f} {ends} (floor {floor.value:.3f})"
