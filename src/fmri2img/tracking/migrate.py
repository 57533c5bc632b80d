"""Copy a store to another, such as one person's ``mlflow.db`` to the team's server: runs, curves,
files, registry and aliases.

The copy may be interrupted and restarted, and repeated when there are new runs: what the target
already has is left alone.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
from mlflow.entities import DatasetInput, LoggedModelOutput, Metric, Param, Run
from mlflow.exceptions import MlflowException

from fmri2img.tracking.champions import move_alias
from fmri2img.tracking.chart_view import VIEW_TAG, chart_view
from fmri2img.tracking.registration import log_files
from fmri2img.tracking.store import all_runs, find_run, open_experiment
from fmri2img.tracking.versions import (
    CONFIG_TAG,
    MD5_TAG,
    Registered,
    champion_of,
    find_version,
    list_versions,
)

_FROM, _DONE = "migrated.from", "migrated.done"
_MOST_METRICS, _MOST_PARAMS = 1000, 100  # as many as one call takes


def client_of(uri: str) -> mlflow.MlflowClient:
    """Return the client of another store."""
    return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)


def migrate(source: mlflow.MlflowClient, target: mlflow.MlflowClient) -> Iterator[str]:
    """Copy what the target lacks; yields a line for each run and version that was copied."""
    here, there = open_experiment(source), open_experiment(target)
    copied: dict[str, str] = {}
    for run in all_runs(source, here):
        if run.info.status == "RUNNING":
            continue
        # Somebody may have logged the same encoder there already.
        md5 = {tag: run.data.tags[tag] for tag in (MD5_TAG, CONFIG_TAG) if tag in run.data.tags}
        if (
            len(md5) == len((MD5_TAG, CONFIG_TAG))
            and (same := find_run(target, there, md5)) is not None
            and _FROM not in same.data.tags
        ):
            copied[run.info.run_id] = same.info.run_id
            continue
        known = target.search_runs([there], f"tags.`{_FROM}` = '{run.info.run_id}'")
        done = [item for item in known if _DONE in item.data.tags]
        if done:
            copied[run.info.run_id] = done[0].info.run_id
            continue
        for half in known:  # left by an interrupted migration
            target.delete_run(half.info.run_id)
        copied[run.info.run_id] = _copy_run(source, target, run, there)
        yield f"run {run.info.run_name}"
    for item in sorted(
        list_versions(source), key=lambda version: (version.name, int(version.number))
    ):
        if find_version(target, item.name, item.tags) is not None or item.run_id not in copied:
            continue
        _copy_version(source, target, item, copied[item.run_id], there)
        yield f"version {item.uri}"
        for alias in item.aliases:
            new = find_version(target, item.name, item.tags)
            if (
                new is not None and champion_of(target, item.tags["subject"], alias) is None
            ):  # what the team has decided stays
                move_alias(target, new, alias)
    view = source.get_experiment(here).tags.get(VIEW_TAG, "")
    if view and target.get_experiment(there).tags.get(VIEW_TAG) == chart_view(()):
        target.set_experiment_tag(there, VIEW_TAG, view)


def _copy_run(
    source: mlflow.MlflowClient, target: mlflow.MlflowClient, run: Run, experiment: str
) -> str:
    tags = {
        key: value for key, value in run.data.tags.items() if key != "mlflow.log-model.history"
    } | {_FROM: run.info.run_id}
    new = target.create_run(
        experiment, start_time=run.info.start_time, tags=tags, run_name=run.info.run_name
    ).info.run_id
    params = [Param(key, value) for key, value in run.data.params.items()]
    for start in range(0, len(params), _MOST_PARAMS):
        target.log_batch(new, params=params[start : start + _MOST_PARAMS])
    points = [
        Metric(point.key, point.value, point.timestamp, point.step)
        for name in run.data.metrics
        for point in source.get_metric_history(run.info.run_id, name)
    ]
    for start in range(0, len(points), _MOST_METRICS):
        target.log_batch(new, metrics=points[start : start + _MOST_METRICS])
    if run.inputs.dataset_inputs:
        target.log_inputs(
            new,
            datasets=[DatasetInput(item.dataset, item.tags) for item in run.inputs.dataset_inputs],
        )
    with tempfile.TemporaryDirectory() as folder:
        if source.list_artifacts(run.info.run_id):
            target.log_artifacts(new, source.download_artifacts(run.info.run_id, "", folder))
    target.set_tag(new, _DONE, "true")
    target.set_terminated(new, run.info.status, run.info.end_time)
    return new


def _copy_version(
    source: mlflow.MlflowClient,
    target: mlflow.MlflowClient,
    item: Registered,
    run_id: str,
    experiment: str,
) -> None:
    old = source.get_logged_model(item.source.removeprefix("models:/"))
    new = target.create_logged_model(
        experiment, old.name, run_id, params=old.params, model_type=old.model_type
    )
    with tempfile.TemporaryDirectory() as folder:
        with _as_current(source):
            place = Path(mlflow.artifacts.download_artifacts(item.uri, dst_path=folder))
        log_files(target, new, place, run_id)
    target.finalize_logged_model(new.model_id, "READY")
    target.log_outputs(run_id, models=[LoggedModelOutput(new.model_id, 0)])
    try:
        target.create_registered_model(
            item.name, description=source.get_registered_model(item.name).description
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    with _as_current(target):
        target.create_model_version(
            item.name,
            f"models:/{new.model_id}",
            run_id,
            item.tags,
            description=item.description,
            model_id=new.model_id,
        )


@contextmanager
def _as_current(client: mlflow.MlflowClient) -> Iterator[None]:
    """Make a store the current one: MLflow looks up addresses of models there, whatever the
    client.
    """
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(client.tracking_uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)
