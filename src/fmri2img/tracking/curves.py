"""Learning curves in MLflow runs: check what a run holds, and log what it lacks."""

import time

import mlflow
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException


def milliseconds() -> int:
    """Return the current time in milliseconds, as MLflow takes it."""
    return int(time.time() * 1000)


def holds_curve(client: mlflow.MlflowClient, run_id: str, records: list[dict[str, float]]) -> bool:
    """Whether a run exists and its part of a curve is the same, so that the rest may be added."""
    try:
        history = client.get_metric_history(run_id, "curve/train_loss")
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":  # the run is of another store
            return False
        raise
    values = {int(record["epoch"]): record["train_loss"] for record in records}
    return all(values.get(point.step, point.value) == point.value for point in history)


def log_curve(client: mlflow.MlflowClient, run_id: str, records: list[dict[str, float]]) -> None:
    """Log the epochs that a run lacks; each record has ``epoch`` and scores."""
    names = {name for record in records for name in record} - {"epoch"}
    known = {
        name: {point.step for point in client.get_metric_history(run_id, f"curve/{name}")}
        for name in names
    }
    now = milliseconds()
    points = [
        Metric(f"curve/{name}", record[name], now, int(record["epoch"]))
        for record in records
        for name in record
        if name != "epoch" and int(record["epoch"]) not in known[name]
    ]
    for start in range(0, len(points), MOST_METRICS):
        client.log_batch(run_id, metrics=points[start : start + MOST_METRICS])


MOST_METRICS = 1000  # as many as one call takes
