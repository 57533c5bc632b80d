"""An encoder's scores in MLflow, linked with its logged model and its data: the experiment's page
*Models* and ``mlflow.search_logged_models`` rank encoders by them.
"""

from mlflow.entities import DatasetInput, Metric

from fmri2img.evaluation.metrics.catalogue import CHAMPION_SCORE, VALIDATION_LOSS
from fmri2img.evaluation.table_rows import MODEL, ROWS
from fmri2img.tracking.curves import milliseconds

_OF_VALIDATION = (CHAMPION_SCORE, VALIDATION_LOSS)


def linked_points(
    metrics: dict[str, float], model_id: str, datasets: list[DatasetInput]
) -> list[Metric]:
    """Return scores as MLflow takes them; those of floors and ceilings are of no model, and are not
    linked.

    Parameters
    ----------
    metrics : dict of str to float
        By MLflow's name, such as ``test/pixcorr``.
    model_id : str
        Of the encoder's logged model; empty if there is none.
    datasets : list of DatasetInput
        Inputs of the run; scores are linked with the subject's examples, if they are among them.
    """
    now = milliseconds()  # for equal times MLflow would show the larger value, not the later
    of_test = f"{ROWS[MODEL].key}/"
    link = {"model_id": model_id}
    for one in (item.dataset for item in datasets):
        if one.name.startswith("examples-"):
            link |= {"dataset_name": one.name, "dataset_digest": one.digest}
    return [
        Metric(
            name,
            float(value),
            now,
            0,
            **(link if model_id and (name in _OF_VALIDATION or name.startswith(of_test)) else {}),
        )
        for name, value in metrics.items()
    ]
