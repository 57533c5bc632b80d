"""In which settings a run differs from the one before: its tag ``changed``, and its name."""

from typing import Any

import mlflow
from mlflow.entities import Run

from fmri2img.tracking.run_notes import run_name

_N_EARLIER, _LONGEST_TAG = 10, 500
_N_NAMED, _LONGEST_NAME = 2, 80


def note_changes(
    client: mlflow.MlflowClient, run_id: str, subject: str, model: str, params: dict[str, Any]
) -> None:
    """Name a run after the settings in which it differs from the run before of its subject and
    model, and tag it with them; a run of the same settings gets the name of that one.

    Parameters
    ----------
    client : MlflowClient
    run_id, subject, model : str
    params : dict
        The settings, by name.
    """
    this = client.get_run(run_id)
    if "changed" in this.data.tags:  # logged again
        return
    earlier = client.search_runs(
        [this.info.experiment_id],
        f"tags.subject = '{subject}' and tags.model = '{model}' and "
        f"attributes.start_time < {this.info.start_time}",
        order_by=["attributes.start_time DESC"],
        max_results=_N_EARLIER,
    )
    before = [run for run in earlier if run.info.run_id != run_id and run.data.params]
    if not before:
        client.set_tag(run_id, "changed", "first of its subject and model")
        return
    then = before[0].data.params
    now = {key: str(value) for key, value in params.items()}
    settings = [*now, *(key for key in then if key.startswith(f"{model}."))]
    differing = {
        key: (then.get(key, "not set"), now.get(key, "not set"))
        for key in settings
        if then.get(key) != now.get(key)
    }
    values = {key.removeprefix(f"{model}."): new for key, (_, new) in differing.items()}
    plain, name_before = run_name(subject, model), before[0].info.run_name
    if values:
        name = _name(plain, values)
        client.update_run(run_id, name=_not_taken(name, client, this))
    elif name_before.startswith(plain):  # and not that of an experiment of DVC
        client.update_run(run_id, name=name_before)
    # Last: it says that the run has its name.
    text = "; ".join(f"{key} {old} -> {new}" for key, (old, new) in differing.items())
    client.set_tag(run_id, "changed", text[:_LONGEST_TAG] or "no setting")


def _not_taken(name: str, client: mlflow.MlflowClient, this: Run) -> str:
    """Return a name that no other run has: the same change may have been made from other settings,
    and a long name is cut off.
    """
    taken, token = {"": 0}, None
    while token != "":
        runs = client.search_runs([this.info.experiment_id], page_token=token)
        for run in runs:
            if run.info.run_id != this.info.run_id:
                first, _, number = run.info.run_name.partition(" #")
                number_of = int(number) if number.isdecimal() else 1
                taken[first] = max(taken.get(first, 0), number_of)
        token = runs.token or ""
    return f"{name} #{taken[name] + 1}" if name in taken else name


def _name(name: str, values: dict[str, str]) -> str:
    """Return a run's name with the settings that have other values than before."""
    shown = [f"{key} {value}" for key, value in list(values.items())[:_N_NAMED]]
    rest = f", {len(values) - _N_NAMED} more" if len(values) > _N_NAMED else ""
    return f"{name}: {', '.join(shown)}{rest}"[:_LONGEST_NAME]
