"""The registry: versions of encoders, and which of them a lab uses.

Each subject has at most one ``champion`` and one ``challenger`` over all models. Both move by
scores on validation images alone: a candidate replaces the champion if the paired interval of the
difference lies above 0, and is the challenger otherwise.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from fmri2img.evaluation.metrics.catalogue import CHAMPION_SCORE, headline_metrics
from fmri2img.evaluation.table_rows import MODEL, ROWS
from fmri2img.project.exceptions import ConfigError, MissingDataError

logger = logging.getLogger(__name__)
CHAMPION, CHALLENGER = "champion", "challenger"
SCORES_NAME = "validation_scores.csv"
MD5_TAG, CONFIG_TAG, RETIRED_TAG = "dvc.model_md5", "dvc.config_md5", "retired"
_PREFIX, FOLDER = "fmri2img", "encoder"
_URI = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<number>\d+))")


@dataclass(frozen=True)
class Registered:
    """One version of an encoder.

    Attributes
    ----------
    name, number : str
        Name and version number in MLflow.
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
        """Address of the version by its number, because an alias may move."""
        return f"models:/{self.name}/{self.number}"

    @property
    def is_simulated(self) -> bool:
        """Whether it was trained on a simulated brain."""
        return self.tags.get("data.source") == "simulated"

    @property
    def is_retired(self) -> bool:
        """Whether it was taken out of use."""
        return RETIRED_TAG in self.tags


def registered_name(model: str, subject: str) -> str:
    """Return the name of an encoder in the registry."""
    return f"{_PREFIX}-{model}-{subject}"


def find_version(client: mlflow.MlflowClient, name: str, tags: dict[str, str]) -> Registered | None:
    """Return the latest version of a name with the same weights and config, or None."""
    versions = [
        item
        for item in versions_named(client, name)
        if all(item.tags.get(tag) == tags.get(tag) for tag in (MD5_TAG, CONFIG_TAG))
    ]
    return versions[0] if versions else None


def versions_named(client: mlflow.MlflowClient, name: str) -> list[Registered]:
    """Return the versions of a name, the latest first."""
    try:
        aliases = client.get_registered_model(name).aliases  # searches do not fill in aliases
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return []
        raise
    versions = _search_versions(client, f"name = '{name}'")
    return [_registered(item, aliases) for item in versions]


def _search_versions(client: mlflow.MlflowClient, condition: str) -> list[ModelVersion]:
    """Return versions by name, the latest first."""
    versions: list[ModelVersion] = []
    token = None
    while True:
        page = client.search_model_versions(condition, page_token=token)
        versions += page
        token = page.token
        if not token:
            return sorted(versions, key=lambda item: (item.name, -int(item.version)))


def _registered(item: ModelVersion, aliases: Mapping[str, str | int]) -> Registered:
    """Take over a version; ``aliases`` are those of its name, with the numbers they point at."""
    return Registered(
        item.name,
        str(item.version),
        tuple(alias for alias, number in aliases.items() if str(number) == str(item.version)),
        dict(item.tags),
        item.run_id,
        item.source,
        item.description or "",
    )


def list_versions(client: mlflow.MlflowClient, subject: str = "") -> list[Registered]:
    """Return all versions, or those of one subject: by name, the latest first."""
    versions = _search_versions(client, f"name LIKE '{_PREFIX}-%{subject}'")
    aliases = _aliases_of_names(client)
    return [
        _registered(item, aliases.get(item.name, {}))
        for item in versions
        if not subject or item.tags.get("subject") == subject
    ]


def _aliases_of_names(client: mlflow.MlflowClient) -> dict[str, Mapping[str, str | int]]:
    """Return the aliases of every name, which a search for versions does not fill in."""
    aliases: dict[str, Mapping[str, str | int]] = {}
    token = None
    while True:
        page = client.search_registered_models(f"name LIKE '{_PREFIX}-%'", page_token=token)
        aliases |= {item.name: item.aliases for item in page}
        token = page.token
        if not token:
            return aliases


def resolve(client: mlflow.MlflowClient, uri: str) -> Registered:
    """Return the version that ``models:/NAME@ALIAS`` or ``models:/NAME/NUMBER`` names.

    Raises
    ------
    ConfigError
        If ``uri`` is not such an address.
    MissingDataError
        If there is no such version.
    """
    parts = _URI.fullmatch(uri)
    if parts is None:
        raise ConfigError(
            f"{uri}: not the address of an encoder; expected "
            f"models:/{_PREFIX}-MODEL-SUBJECT@champion or .../NUMBER"
        )
    versions = versions_named(client, parts["name"])
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


def download(item: Registered, folder: Path) -> Path:
    """Fetch weights and config of a version into ``folder``, and check that they are those that
    were registered.

    Raises
    ------
    MismatchError
        If the bytes or the files differ.
    """
    # Late: it loads torch, which takes seconds, and listing versions needs none.
    from fmri2img.models.registry import CONFIG_NAME, WEIGHTS_NAME, check_files

    place = Path(
        mlflow.artifacts.download_artifacts(f"{item.uri}/artifacts/{FOLDER}", dst_path=str(folder))
    )
    check_files(
        place, {WEIGHTS_NAME: item.tags[MD5_TAG], CONFIG_NAME: item.tags[CONFIG_TAG]}, item.uri
    )
    return place


def summaries(
    client: mlflow.MlflowClient, experiment: str, items: Sequence[Registered]
) -> list[dict[str, str]]:
    """Return the columns that a list shows for each version; scores are empty if its run is not in
    the experiment with this id.
    """
    shown = {"validation r": CHAMPION_SCORE}
    shown |= {
        metric.narrow_heading: f"{ROWS[MODEL].key}/{name}"
        for name, metric in headline_metrics().items()
    }
    known = _metrics_of_runs(client, experiment)
    return [
        {
            "encoder": item.name,
            "version": item.number,
            "alias": ", ".join(item.aliases) or ("retired" if item.is_retired else ""),
            **{
                title: f"{metrics[metric]:.3f}" if metric in metrics else ""
                for title, metric in shown.items()
            },
        }
        for item in items
        for metrics in [known.get(item.run_id, {})]
    ]


def _metrics_of_runs(client: mlflow.MlflowClient, experiment: str) -> dict[str, dict[str, float]]:
    """Return the metrics of an experiment's runs, by run id."""
    metrics: dict[str, dict[str, float]] = {}
    token = None
    while True:
        page = client.search_runs([experiment], page_token=token)
        metrics |= {run.info.run_id: run.data.metrics for run in page}
        token = page.token
        if not token:
            return metrics
