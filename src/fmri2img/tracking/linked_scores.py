"""An encoder's scores in MLflow, linked with its logged model and its data: the experiment's page
*Models* and ``mlflow.search_logged_models`` rank encoders by them.
"""

from mlflow.entities import Dataset, Metric

from fmri2img.evaluation.metrics.catalogue import CHAMPION_SCORE, VALIDATION_LOSS
from fmri2img.evaluation.table_rows import MODEL, ROWS
from fmri2img.tracking.curves import milliseconds

_OF_VALIDATION = (CHAMPION_SCORE, VALIDATION_LOSS)


def linked_points(metrics: dict[str, float], model_id: str, dataset: Dataset) -> list[Metric]:
    """Return scores as MLflow takes them; those of floors and ceilings are of no model, and are not
    linked.

    Parameters
    ----------
    metrics : dict of str to float
        By MLflow's name, such as ``test/pixcorr``.
    model_id : str
        Of the encoder's logged model; empty if there is none.
    dataset : Dataset
        An input of the run: the subject's examples.
    """
    now = milliseconds()  # for equal times MLflow would show the larger value, not the later
    of_test = f"{ROWS[MODEL].key}/"
    link = {
        "model_id": model_id,
        "dataset_name": dataset.name,
        "dataset_digest": dataset.digest,
    }
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
