"""The registry: versions of encoders, and which of them a lab uses.

Each subject has at most one ``champion`` and one ``challenger`` over all models. Both move by
scores on validation images alone: a candidate takes the place of the champion if the paired
interval of the difference lies above 0, and is the challenger otherwise.
"""

import io
import logging
import re
import shutil
import tempfile
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import DataType, ParamSchema, ParamSpec, Schema, TensorSpec

from fmri2img.evaluation.inference import bootstrap_intervals
from fmri2img.exceptions import ConfigError, MismatchError, MissingDataError
from fmri2img.files import hash_file
from fmri2img.models.catalogue import CONFIG_NAME, WEIGHTS_NAME, check_files

logger = logging.getLogger(__name__)
CHAMPION, CHALLENGER = "champion", "challenger"
SCORES_NAME = "validation_scores.csv"
MD5_TAG, CONFIG_TAG, RETIRED_TAG = "dvc.model_md5", "dvc.config_md5", "retired"
_PREFIX, _FOLDER = "fmri2img", "encoder"
_URI = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<number>\d+))")
_SERVED_MODEL = Path(__file__).with_name("served_encoder.py")
# All that served_encoder.py imports; a test loads a model where there is nothing else.
_SERVED_CODE = [
    *("__init__.py", "config.py", "exceptions.py", "files.py", "models/*.py"),
    *(
        "pretrained/__init__.py",
        "pretrained/autoencoder.py",
        "generation/__init__.py",
        "generation/decode.py",
    ),
]
# MLflow puts the copy before everything else that can be imported.
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
_N_RESAMPLES = 10_000
_SHOWN = {
    "pixcorr": "PixCorr",
    "pattern_correlation": "latent pattern r",
    "two_way": "latent 2-way",
}


@dataclass(frozen=True)
class Registered:
    """One version of an encoder.

    Attributes
    ----------
    name, number : str
        As MLflow has them.
    aliases : tuple of str
    tags : dict of str to str
    run_id : str
    source : str
        URI of its files.
    description : str
    """

    name: str
    number: str
    aliases: tuple[str, ...]
    tags: dict[str, str]
    run_id: str
    source: str
    description: str

    @property
    def uri(self) -> str:
        """By number: an alias may move."""
        return f"models:/{self.name}/{self.number}"

    @property
    def is_simulated(self) -> bool:
        """Whether it was trained on a simulated brain."""
        return self.tags.get("data.source") == "simulated"

    @property
    def is_retired(self) -> bool:
        """Whether it was taken out of use."""
        return RETIRED_TAG in self.tags


@dataclass(frozen=True)
class Difference:
    """How much better a version is than another on the same validation images: mean pattern
    correlation, and its 95 % interval.
    """

    mean: float
    low: float
    high: float
    n_images: int

    def __str__(self) -> str:
        return (
            f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}] on {self.n_images} "
            "validation images"
        )


def registered_name(model: str, subject: str) -> str:
    """Return the name of an encoder in the registry."""
    return f"{_PREFIX}-{model}-{subject}"


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
        Holds weights and config.
    config : dict
    tags : dict of str to str
        With the MD5 of the weights.
    """
    name = registered_name(config["model"], tags["subject"])
    if find_version(client, name, tags) is not None:
        return
    files = {file: hash_file(folder / file, "md5") for file in (WEIGHTS_NAME, CONFIG_NAME)}
    float32 = np.dtype("float32")
    signature = ModelSignature(
        inputs=Schema([TensorSpec(float32, (-1, config["n_voxels"]))]),
        outputs=Schema([TensorSpec(float32, (-1, *config["latent_shape"]))]),
        params=ParamSchema(
            [
                ParamSpec("repetitions", DataType.long, 3),  # trials that each row averages
                ParamSpec("output", DataType.string, "latents"),
                ParamSpec("allow_missing", DataType.boolean, False),
            ]
        ),
    )
    with tempfile.TemporaryDirectory() as temporary:
        served, code = Path(temporary) / _FOLDER, _copy_code(Path(temporary))
        served.mkdir()
        for file in files:  # what serves, and nothing else
            shutil.copyfile(folder / file, served / file)
        # A run that ended in another process is opened again, or the model would belong to none.
        with mlflow.start_run(run_id=run_id), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            info = mlflow.pyfunc.log_model(
                name="encoder",
                python_model=str(_SERVED_MODEL),
                artifacts={_FOLDER: str(served)},
                code_paths=[str(code)],
                signature=signature,
                model_config={"md5": files},
                pip_requirements=[f"{package}=={version(package)}" for package in _REQUIRED],
            )
    try:
        client.create_registered_model(
            name,
            description="Betas in percent signal change, float32 (n, voxels), to latents of Stable "
            "Diffusion's VAE.",
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    text = _description(config, None)
    client.create_model_version(
        name, info.model_uri, run_id, tags=tags, description=text, model_id=info.model_id
    )


def _copy_code(folder: Path) -> Path:
    """Copy the part of this package that serves: on a server far away each file of a model costs
    a second.
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
    document: dict[str, Any],
) -> None:
    """Put test scores with intervals into the description of a version.

    Parameters
    ----------
    client, config, tags
        As `register` takes them.
    document : dict
        From `evaluation.documents.metrics_document`.
    """
    name = registered_name(config["model"], tags["subject"])
    version = find_version(client, name, tags)
    if version is not None:
        client.update_model_version(
            name, version.number, description=_description(config, document)
        )


def _description(config: dict[str, Any], document: dict[str, Any] | None) -> str:
    about = config["about"]
    lines = ["**SIMULATED DATA, not brain data.**"] if about["data.source"] == "simulated" else []
    decoded = (
        f"z and c of {about['diffusion']}"
        if "diffusion" in about
        else f"latents of {about['autoencoder']}"
    )
    lines += [
        f"**Data**: {about['subject']}, {about['roi']} ({config['n_voxels']} voxels), "
        f"{about['beta_version']}, {about['func_space']}, "
        f"{about['sessions']} sessions, {about['n_train_images']} training images; {decoded}."
    ]
    if document is None:
        lines += ["**Test scores**: not evaluated yet."]
    else:
        scores = [
            f"{title} {document['test'][metric]:.3f} [{low:.3f}, {high:.3f}] (shuffled "
            f"{document['floor_shuffled'][metric]:.3f})"
            for metric, title in _SHOWN.items()
            for low, high in [document["interval"]["test"][metric]]
        ]
        lines += [
            f"**Test scores**, {document['about']['n_test_images']} images, 95 % intervals over "
            f"images: {'; '.join(scores)}."
        ]
    lines += [
        "**Limits**: for this subject's voxels, in this order, in percent signal change; pictures "
        "of 128 x 128; intervals say nothing "
        "about other people or sessions."
    ]
    return "\n\n".join(lines)


def find_version(client: mlflow.MlflowClient, name: str, tags: dict[str, str]) -> Registered | None:
    """Return the latest version of a name with the same weights and config, or None."""
    versions = [
        item
        for item in _versions(client, name)
        if all(item.tags.get(tag) == tags.get(tag) for tag in (MD5_TAG, CONFIG_TAG))
    ]
    return versions[0] if versions else None


def _versions(client: mlflow.MlflowClient, name: str) -> list[Registered]:
    """Return the versions of a name, the latest first."""
    try:
        aliases = client.get_registered_model(name).aliases  # searches do not fill in aliases
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return []
        raise
    versions = sorted(
        client.search_model_versions(f"name = '{name}'"), key=lambda item: -int(item.version)
    )
    return [
        _registered(
            item,
            tuple(alias for alias, number in aliases.items() if str(number) == str(item.version)),
        )
        for item in versions
    ]


def _registered(item: ModelVersion, aliases: tuple[str, ...]) -> Registered:
    return Registered(
        item.name,
        str(item.version),
        aliases,
        dict(item.tags),
        item.run_id,
        item.source,
        item.description or "",
    )


def list_versions(client: mlflow.MlflowClient, subject: str = "") -> list[Registered]:
    """Return all versions, or those of one subject: by name, the latest first."""
    names, token = [], None
    while True:
        page = client.search_registered_models(
            f"name LIKE '{_PREFIX}-%{subject}'", page_token=token
        )
        names += [item.name for item in page]
        token = page.token
        if not token:
            break
    names.sort()
    return [
        item
        for name in names
        for item in _versions(client, name)
        if not subject or item.tags.get("subject") == subject
    ]


def resolve(client: mlflow.MlflowClient, uri: str) -> Registered:
    """Return the version that ``models:/NAME@ALIAS`` or ``models:/NAME/NUMBER`` names.

    Raises
    ------
    ConfigError
        If it is no such address.
    MissingDataError
        If there is no such version.
    """
    parts = _URI.fullmatch(uri)
    if parts is None:
        raise ConfigError(
            f"{uri}: not the address of an encoder; expected "
            f"models:/{_PREFIX}-MODEL-SUBJECT@champion or .../NUMBER"
        )
    versions = _versions(client, parts["name"])
    chosen = [
        item
        for item in versions
        if parts["alias"] in item.aliases or item.number == parts["number"]
    ]
    if not chosen:
        known = ", ".join(
            f"{item.number}{''.join(f' @{alias}' for alias in item.aliases)}" for item in versions
        )
        names = known or "none; see: fmri2img list"
        raise MissingDataError(f"{uri}: no such version; those of {parts['name']} are: {names}")
    return chosen[0]


def champion_of(
    client: mlflow.MlflowClient, subject: str, alias: str = CHAMPION
) -> Registered | None:
    """Return the version of any model of a subject that has the alias, or None."""
    holders = [item for item in list_versions(client, subject) if alias in item.aliases]
    return holders[0] if holders else None


def difference(client: mlflow.MlflowClient, candidate: Registered, other: Registered) -> Difference:
    """Compare two versions on the validation images of both.

    Raises
    ------
    MismatchError
        If their validation images, data source or autoencoder are not the same, or the scores are
        lost.
    """
    for tag in ("subject", "data.source", "autoencoder.sha256"):
        if candidate.tags.get(tag) != other.tags.get(tag):
            raise MismatchError(
                f"{candidate.uri} has {tag} {candidate.tags.get(tag)}, {other.uri} has "
                f"{other.tags.get(tag)}"
            )
    ours, theirs = (_validation_scores(client, item) for item in (candidate, other))
    if not ours.index.equals(theirs.index):
        raise MismatchError(
            f"{candidate.uri} and {other.uri} were not validated on the same images ({len(ours)} "
            f"and {len(theirs)})"
        )
    gains = (ours - theirs).to_numpy()
    low, high = bootstrap_intervals(gains[None], _N_RESAMPLES, np.random.default_rng(0))[0]
    return Difference(float(gains.mean()), float(low), float(high), len(gains))


def _validation_scores(client: mlflow.MlflowClient, item: Registered) -> pd.Series:
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = Path(client.download_artifacts(item.run_id, SCORES_NAME, folder))
        except (MlflowException, OSError) as error:
            raise MismatchError(
                f"the validation scores of {item.uri} are not in its run {item.run_id}"
            ) from error
        table = pd.read_csv(io.StringIO(path.read_text()))
    scores: pd.Series = table.set_index("image_id")["pattern_correlation"].sort_index()
    return scores


def promote(client: mlflow.MlflowClient, candidate: Registered, *, force: bool = False) -> str:
    """Make a version the champion of its subject; returns what was found, in one line.

    Raises
    ------
    MismatchError
        If it is not shown to be better than the champion, and ``force`` is not set.
    """
    subject = candidate.tags["subject"]
    champion = champion_of(client, subject)
    if champion is not None and champion.uri == candidate.uri:
        return f"{subject}: {candidate.uri} is the champion already"
    if candidate.is_retired and not force:
        raise MismatchError(
            f"{candidate.uri} is retired ({candidate.tags[RETIRED_TAG]}); to use it all the same: "
            "--force"
        )
    if champion is None:
        move_alias(client, candidate, CHAMPION)
        return f"{subject}: {candidate.uri} is the champion; there was none"
    try:
        gain: Difference | str = difference(client, candidate, champion)
    except MismatchError as error:
        gain = f"not comparable ({error})"
    if not force and not (isinstance(gain, Difference) and gain.low > 0):
        raise MismatchError(
            f"{candidate.uri} is not shown to be better than {champion.uri}: {gain}; to promote it "
            "all the same: --force"
        )
    move_alias(client, candidate, CHAMPION)
    return (
        f"{subject}: {candidate.uri} is the champion in place of {champion.uri}: "
        f"{gain}{', by force' if force else ''}"
    )


def propose(client: mlflow.MlflowClient, subject: str, name: str, tags: dict[str, str]) -> str:
    """Let the best of a comparison be champion if it is better than the one there is, challenger if
    that is not shown; say which.

    Parameters
    ----------
    client : MlflowClient
    subject : str
    name : str
        In the registry.
    tags : dict of str to str
        MD5 of its weights and config.
    """
    candidate = find_version(client, name, tags)
    if candidate is None:
        return f"{subject}: no version of {name} has the weights on disk; run: fmri2img track"
    if candidate.is_retired:
        return f"{subject}: {candidate.uri} is retired, aliases stay"
    try:
        return promote(client, candidate)
    except MismatchError as error:
        move_alias(client, candidate, CHALLENGER)
        return f"{subject}: {candidate.uri} is the challenger: {error}"


def retire(client: mlflow.MlflowClient, item: Registered, why: str) -> None:
    """Take the aliases from a version, and mark it as out of use; its files stay."""
    for alias in item.aliases:
        client.delete_registered_model_alias(item.name, alias)
    client.set_model_version_tag(item.name, item.number, RETIRED_TAG, why or "yes")


def move_alias(client: mlflow.MlflowClient, item: Registered, alias: str) -> None:
    """Give an alias of the subject to one version, and take it from all others."""
    for other in list_versions(
        client, item.tags["subject"]
    ):  # first: a server that forbids it leaves all as it was
        if alias in other.aliases and other.name != item.name:
            client.delete_registered_model_alias(other.name, alias)
        if alias == CHAMPION and CHALLENGER in other.aliases and other.uri == item.uri:
            client.delete_registered_model_alias(other.name, CHALLENGER)
    client.set_registered_model_alias(item.name, alias, item.number)
    if item.is_retired:
        client.delete_model_version_tag(item.name, item.number, RETIRED_TAG)


def download(item: Registered, folder: Path) -> Path:
    """Fetch weights and config of a version into ``folder``, and check that they are those that
    were registered.

    Raises
    ------
    MismatchError
        If there are other bytes, or other files.
    """
    place = Path(
        mlflow.artifacts.download_artifacts(f"{item.uri}/artifacts/{_FOLDER}", dst_path=str(folder))
    )
    check_files(
        place, {WEIGHTS_NAME: item.tags[MD5_TAG], CONFIG_NAME: item.tags[CONFIG_TAG]}, item.uri
    )
    return place


def summary(client: mlflow.MlflowClient, item: Registered) -> dict[str, str]:
    """Return what a list shows of a version."""
    metrics = client.get_run(item.run_id).data.metrics
    shown = {
        "validation r": "validation/pattern_correlation",
        "PixCorr": "test/pixcorr",
        "2-way": "test/two_way",
    }
    scores = {
        title: f"{metrics[metric]:.3f}" if metric in metrics else ""
        for title, metric in shown.items()
    }
    return {
        "encoder": item.name,
        "version": item.number,
        "alias": ", ".join(item.aliases) or ("retired" if item.is_retired else ""),
        **scores,
    }
