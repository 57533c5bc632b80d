"""Scores on further test sets, in the run of the encoder."""

from collections.abc import Sequence

from mlflow import MlflowClient
from mlflow.entities import Metric, Run

from fmri2img.evaluation.metrics_document import MetricsDocument
from fmri2img.evaluation.table_rows import MODEL
from fmri2img.models.registry import stage_of
from fmri2img.project.files import hash_file
from fmri2img.project.layout import ood_metrics_path
from fmri2img.tracking.curves import milliseconds

_TAG = "logged.ood"


def log_ood(
    client: MlflowClient, run: Run, subject: str, model: str, model_md5: str, tests: Sequence[str]
) -> list[str]:
    """Log what a run lacks of its encoder's scores on further test sets, beside their floors.

    Parameters
    ----------
    client : MlflowClient
    run : Run
    subject, model : str
    model_md5 : str
        MD5 of the weights; scores of others are left alone.
    tests : sequence of str
        Names of the test sets; their scores become the metrics ``<test>/<metric>`` and
        ``<test>/floor_<metric>``.

    Returns
    -------
    list of str
        Test sets whose scores were missing.
    """
    logged = []
    for test in tests:
        path = ood_metrics_path(subject, model, test)
        md5 = hash_file(path, "md5") if path.exists() else ""
        if not md5 or run.data.tags.get(f"{_TAG}.{test}") == md5:
            continue
        stage = stage_of("evaluate_ood", subject, model)
        document = MetricsDocument.read(path, remedy=f"dvc repro {stage}-{test}")
        if document.about.get("model_md5") != model_md5:
            continue
        scores = document.means(MODEL)
        floors = {metric: document.floor(metric) for metric in scores}
        known = {f"floor_{metric}": floor.value for metric, floor in floors.items() if floor}
        now = milliseconds()
        metrics = [
            Metric(f"{test}/{name}", value, now, 0) for name, value in (scores | known).items()
        ]
        client.log_batch(run.info.run_id, metrics=metrics)
        client.set_tag(run.info.run_id, f"{_TAG}.{test}", md5)
        logged.append(test)
    return logged
