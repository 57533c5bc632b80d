"""Which version a lab uses: champions and challengers, by scores on validation images alone."""

import io
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException

from fmri2img.evaluation.inference import bootstrap_intervals
from fmri2img.evaluation.metrics.catalogue import CHAMPION_METRIC
from fmri2img.project.exceptions import MismatchError
from fmri2img.tracking.champion_call import ChampionChange, service_to_tell, tell_service
from fmri2img.tracking.versions import (
    CHALLENGER,
    CHAMPION,
    RETIRED_TAG,
    SCORES_NAME,
    Registered,
    champion_of,
    find_version,
    list_versions,
)

_N_RESAMPLES = 10_000
# Why encoders of a removed subject or model are retired; they are not if they come back.
REMOVED = "removed from the project"


@dataclass(frozen=True)
class Difference:
    """How much better one version is than another on the same validation images: mean gain in
    pattern correlation, and its 95 % interval.
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
                f"{other.tags.get(tag)}, expected the same; compare encoders of one subject, "
                "source and autoencoder"
            )
    ours, theirs = (_validation_scores(client, item) for item in (candidate, other))
    if not ours.index.equals(theirs.index):
        raise MismatchError(
            f"{candidate.uri} and {other.uri} were not validated on the same images ({len(ours)} "
            f"and {len(theirs)}); train both with the split of today: fmri2img repro"
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
                f"the validation scores of {item.uri} are not in its run {item.run_id}; "
                "log it again: fmri2img track"
            ) from error
        table = pd.read_csv(io.StringIO(path.read_text(encoding="utf-8")))
    if absent := sorted({"image_id", CHAMPION_METRIC} - set(table.columns)):
        raise MismatchError(
            f"the validation scores of {item.uri} lack the column {absent[0]}; log them again: "
            "fmri2img track"
        )
    scores: pd.Series = table.set_index("image_id")[CHAMPION_METRIC].sort_index()
    return scores


def promote(client: mlflow.MlflowClient, candidate: Registered, *, force: bool = False) -> str:
    """Make a version the champion of its subject; returns the outcome in one line.

    Raises
    ------
    MismatchError
        If it is retired or not shown to be better than the champion, and ``force`` is not set.
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
        return _crown(client, candidate, None, f"{candidate.uri} is the champion; there was none")
    try:
        gain: Difference | str = difference(client, candidate, champion)
    except MismatchError as error:
        gain = f"not comparable ({error})"
    if not force and not (isinstance(gain, Difference) and gain.low > 0):
        raise MismatchError(
            f"{candidate.uri} is not shown to be better than {champion.uri}: {gain}; to promote it "
            "all the same: --force"
        )
    outcome = (
        f"{candidate.uri} replaces {champion.uri} as the champion: "
        f"{gain}{', by force' if force else ''}"
    )
    return _crown(client, candidate, champion, outcome)


def _crown(
    client: mlflow.MlflowClient, candidate: Registered, previous: Registered | None, outcome: str
) -> str:
    """Make a version the champion and tell whom it concerns; returns the outcome in one line."""
    url, subject = service_to_tell(), candidate.tags["subject"]
    move_alias(client, candidate, CHAMPION)
    before = previous.uri if previous else ""
    tell_service(url, ChampionChange(subject, candidate.uri, before, outcome))
    return f"{subject}: {outcome}"


def propose(client: mlflow.MlflowClient, subject: str, name: str, tags: dict[str, str]) -> str:
    """Make the best encoder of a comparison the champion if it is shown to be better than the
    present one, else the challenger; say which.

    Parameters
    ----------
    client : MlflowClient
    subject : str
    name : str
        Name of the registered model.
    tags : dict of str to str
        Tags with the MD5 of its weights and config.
    """
    candidate = find_version(client, name, tags)
    if candidate is None:
        return f"{subject}: no version of {name} has the weights on disk; run: fmri2img track"
    if candidate.tags.get(RETIRED_TAG) == REMOVED:  # it is among the project's encoders again
        client.delete_model_version_tag(candidate.name, candidate.number, RETIRED_TAG)
        kept = {tag: value for tag, value in candidate.tags.items() if tag != RETIRED_TAG}
        candidate = replace(candidate, tags=kept)
    if candidate.is_retired:
        return f"{subject}: {candidate.uri} is retired, aliases stay"
    try:
        return promote(client, candidate)
    except MismatchError as error:
        move_alias(client, candidate, CHALLENGER)
        return f"{subject}: {candidate.uri} is the challenger: {error}"


def retire(client: mlflow.MlflowClient, item: Registered, why: str) -> None:
    """Remove a version's aliases, and mark it as out of use; its files stay."""
    url = service_to_tell()
    for alias in item.aliases:
        client.delete_registered_model_alias(item.name, alias)
    client.set_model_version_tag(item.name, item.number, RETIRED_TAG, why or "yes")
    if CHAMPION in item.aliases:
        outcome = f"{item.uri} is retired ({why or 'no reason given'})"
        tell_service(url, ChampionChange(item.tags["subject"], "", item.uri, outcome))


def move_alias(client: mlflow.MlflowClient, item: Registered, alias: str) -> None:
    """Give an alias of the subject to one version, and take it from all others."""
    for other in list_versions(
        client, item.tags["subject"]
    ):  # first: if the server forbids it, nothing has changed
        if alias in other.aliases and other.name != item.name:
            client.delete_registered_model_alias(other.name, alias)
        if alias == CHAMPION and CHALLENGER in other.aliases and other.uri == item.uri:
            client.delete_registered_model_alias(other.name, CHALLENGER)
    client.set_registered_model_alias(item.name, alias, item.number)
    if item.is_retired:
        client.delete_model_version_tag(item.name, item.number, RETIRED_TAG)
