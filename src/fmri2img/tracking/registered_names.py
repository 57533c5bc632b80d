"""Migrate the names of encoders in MLflow: in the registry, and names and tags of runs."""

import mlflow

from fmri2img.models.registry import EARLIER_NAMES, stage_of
from fmri2img.tracking.store import open_store
from fmri2img.tracking.versions import registered_name


def earlier_registered_names(client: mlflow.MlflowClient) -> dict[str, str]:
    """Return today's name of each registered model that has an encoder's earlier name."""
    renamed = {}
    for model in client.search_registered_models():
        for old, new in EARLIER_NAMES.items():
            start = registered_name(old, "")
            if model.name.startswith(start):
                renamed[model.name] = registered_name(new, model.name.removeprefix(start))
    return renamed


def migrate_store() -> list[str]:
    """Rename registered models with their versions and aliases, and runs; returns a line for each.

    Raises
    ------
    MlflowException
        If the store cannot be reached.
    """
    client, experiment = open_store()
    lines = []
    for old, new in earlier_registered_names(client).items():
        client.rename_registered_model(old, new)
        aliases = client.get_registered_model(new).aliases
        kept = f" ({', '.join(sorted(aliases))} stays)" if aliases else ""
        lines.append(f"registered model {old} -> {new}{kept}")
    for old, new in EARLIER_NAMES.items():
        for run in client.search_runs([experiment], f"tags.model = '{old}'"):
            subject = run.data.tags.get("subject", "")
            name = f"{subject}-{new}"
            client.set_tag(run.info.run_id, "model", new)
            client.set_tag(run.info.run_id, "dvc.stage", stage_of("train", subject, new))
            client.update_run(run.info.run_id, name=name)
            lines.append(f"run {run.info.run_name} -> {name}")
    return lines
