"""Migrate the names of encoders in MLflow: in the registry, and names and tags of runs."""

from mlflow.entities import Run

from fmri2img.models.registry import current_name, stage_of
from fmri2img.tracking.store import all_runs, open_store
from fmri2img.tracking.versions import Registered, list_versions, registered_name


def migrate_store() -> list[str]:
    """Rename registered models with their versions and aliases, and runs; returns a line for each.

    Raises
    ------
    MlflowException
        If the store cannot be reached.
    """
    client, experiment = open_store()
    runs = {run.info.run_id: run for run in all_runs(client, experiment)}
    by_name: dict[str, list[Registered]] = {}
    for version in list_versions(client):
        by_name.setdefault(version.name, []).append(version)
    lines = []
    for old, versions in by_name.items():
        models = {_model_of(version, runs) for version in versions}
        model, subject = min(models), versions[0].tags.get("subject", "")
        new = registered_name(model, subject)
        # Versions of two encoders under one name stay where they are: both still open.
        if len(models) > 1 or new == old:
            continue
        client.rename_registered_model(old, new)
        for version in versions:
            client.set_model_version_tag(new, version.number, "model", model)
        aliases = sorted({alias for version in versions for alias in version.aliases})
        kept = f" ({', '.join(aliases)} stays)" if aliases else ""
        lines.append(f"registered model {old} -> {new}{kept}")
    for run in runs.values():
        model = _todays_name(run)
        if model == run.data.tags.get("model", ""):
            continue
        subject = run.data.tags.get("subject", "")
        name = f"{subject}-{model}"
        client.set_tag(run.info.run_id, "model", model)
        client.set_tag(run.info.run_id, "dvc.stage", stage_of("train", subject, model))
        client.update_run(run.info.run_id, name=name)
        lines.append(f"run {run.info.run_name} -> {name}")
    return lines


def _model_of(version: Registered, runs: dict[str, Run]) -> str:
    """Return today's name of a version's model."""
    run = runs.get(version.run_id)
    return _todays_name(run) if run else current_name(version.tags.get("model", ""))


def _todays_name(run: Run) -> str:
    """Return today's name of the model that a run trained; empty if it trained none."""
    model = run.data.tags.get("model", "")
    return current_name(model, [key.removeprefix(f"{model}.") for key in run.data.params])
