"""Runs in MLflow: mirror the files of encoders in the store.

The files are written first; the store is brought up to date whenever it can be reached.
A run belongs to an encoder by content: tag ``dvc.model_md5`` is the MD5 of ``model.safetensors``,
which is also what ``dvc.lock`` records. No run id is kept in any output of the pipeline.
"""

import csv
import io
import logging
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import mlflow
import numpy as np
from mlflow.entities import Param, Run, RunTag

from fmri2img.evaluation.metrics.catalogue import CHAMPION_SCORE
from fmri2img.evaluation.metrics_document import MetricsDocument
from fmri2img.models.registry import stage_of
from fmri2img.project.config import ProjectParams
from fmri2img.project.exceptions import MissingDataError
from fmri2img.project.files import hash_file, read_json, read_text
from fmri2img.project.layout import (
    curve_path,
    encoder_folder,
    encoding_scores_path,
    live_run_path,
    metrics_path,
    reconstructions_path,
    report_path,
    training_path,
    voxel_priors_path,
)
from fmri2img.project.params_file import load_params
from fmri2img.provenance.lineage import LOCK_PATH, LockedStage, read_lock
from fmri2img.tracking.champions import propose
from fmri2img.tracking.chart_view import VIEW_TAG, chart_view
from fmri2img.tracking.curves import MOST_METRICS, holds_curve, log_curve
from fmri2img.tracking.encoder_files import (
    EncoderFiles,
    dataset_inputs,
    lineage_tags,
    md5_tags,
    picture_pairs,
    training_scores,
)
from fmri2img.tracking.linked_scores import linked_points
from fmri2img.tracking.ood_scores import log_ood
from fmri2img.tracking.populations import register_population
from fmri2img.tracking.registration import describe, linked_model, register
from fmri2img.tracking.run_changes import note_changes
from fmri2img.tracking.run_notes import read_note, run_name
from fmri2img.tracking.store import find_run, forgiving, open_store, required
from fmri2img.tracking.versions import (
    CONFIG_TAG,
    MD5_TAG,
    SCORES_NAME,
    champion_of,
    registered_name,
)

# Set last, so that interrupted logging is repeated. They hold the MD5 of the file with the numbers.
_TRAINING_TAG, _EVALUATION_TAG = "logged.training", "logged.evaluation"
_PAGE = "report.html"
logger = logging.getLogger(__name__)


def log_encoder(
    subject: str, model: str, *, is_new: bool = False, live_run: str = "", evaluation: bool = True
) -> None:
    """Bring the store up to date with an encoder (`mirror`); a store that cannot be reached only
    causes a warning.
    """
    with forgiving(f"{subject}/{model}"):
        mirror(subject, model, is_new=is_new, live_run=live_run, evaluation=evaluation)


def mirror(
    subject: str,
    model: str,
    *,
    is_new: bool = False,
    live_run: str = "",
    evaluation: bool = True,
    ood: Sequence[str] = (),
) -> list[str]:
    """Log and register what the store lacks of an encoder: settings, curves, scores, lineage;
    pictures and page, if it was evaluated.

    Repeating the call changes nothing.

    Parameters
    ----------
    subject, model : str
    is_new : bool
        Whether it was trained just now; otherwise a newly created run is tagged ``restored``.
    live_run : str
        Id of the run that already holds the curve (`live.LiveCurve`).
    evaluation : bool
        Whether the scores on disk are this encoder's.
    ood : sequence of str
        Further test sets whose scores are logged, too.

    Returns
    -------
    list of str
        What was missing: ``training``, ``evaluation``, further test sets.

    Raises
    ------
    MissingDataError
        If its files are not there.
    MlflowException
        If the store cannot be reached.
    """
    files = EncoderFiles.of(subject, model)
    client, experiment = open_store()
    note = live_run_path(subject, model)
    noted, has_ended = read_note(note)
    if has_ended and not live_run:  # the store was unreachable when that training ended
        live_run = noted
    if live_run and not holds_curve(client, live_run, _curve(subject, model)):
        live_run = ""
    run, logged = _own_run(client, experiment, files, live_run, is_new=is_new), []
    # Tags say what was logged; the files may have been deleted since.
    there = {item.path for item in client.list_artifacts(run.info.run_id)}
    if SCORES_NAME not in there or _is_behind(run, _TRAINING_TAG, training_path(subject, model)):
        _log_training(client, run.info.run_id, files)
        logged.append("training")
    if (
        evaluation
        and metrics_path(subject, model).exists()
        and (_PAGE not in there or _is_behind(run, _EVALUATION_TAG, metrics_path(subject, model)))
    ):
        _log_evaluation(client, run.info.run_id, files)
        logged.append("evaluation")
    logged += log_ood(client, run, subject, model, files.md5[MD5_TAG], ood)
    if logged or run.info.status != "FINISHED":
        # What is added later does not make it longer.
        client.set_terminated(run.info.run_id, end_time=run.info.end_time)
    if has_ended:
        note.unlink(missing_ok=True)
    return logged


def log_comparison(params: ProjectParams, best: dict[str, str]) -> None:
    """Log what the store lacks of all encoders, and propose champions; an encoder that came from
    DVC's cache has no run yet.

    Parameters
    ----------
    params : ProjectParams
        Lists the encoders.
    best : dict of str to str
        Model by subject.
    """
    with forgiving("the comparison"):
        open_store()  # an unreachable store is reported once
        encoders = [(subject, model) for subject in params.subjects for model in params.models]
        for subject, model in encoders:
            try:
                mirror(subject, model, ood=params.ood)
            except MissingDataError as error:  # the comparison itself needs less
                logger.warning("MLflow: %s/%s is not logged: %s", subject, model, error)
        propose_champions(best)


def catch_up() -> Iterator[str]:
    """Log what is missing of every encoder that ``params.yaml`` lists and that is on disk; yields
    a line for each.
    """
    params = load_params()
    stages = read_lock() if LOCK_PATH.exists() else {}
    encoders = [(subject, model) for subject in params.subjects for model in params.models]
    on_disk = [
        names for names in encoders if (encoder_folder(*names) / "model.safetensors").exists()
    ]
    for subject, model in on_disk:
        is_scored = _is_scored(stages, subject, model)
        with required():
            logged = mirror(subject, model, evaluation=is_scored, ood=params.ood)
        without = (
            ""
            if is_scored
            else "; its scores and pictures are not here (dvc repro, or fmri2img pull --everything)"
        )
        yield (
            f"{subject}/{model}: "
            f"{' and '.join(logged) + ' logged' if logged else 'everything is in the store'}"
            f"{without}"
        )
    for subject, model in product(params.population, params.models.population):
        if voxel_priors_path(subject, model).exists():
            with required():
                is_new = register_population(subject, model)
            yield f"population {subject}/{model}: {'registered' if is_new else 'is in the store'}"
    if on_disk:
        _propose_best(on_disk)
    else:
        yield "no encoder is on disk; run: dvc repro, or fmri2img pull --models"


def _propose_best(encoders: list[tuple[str, str]]) -> None:
    """Make each subject's best encoder its champion if the subject has none; a chosen one stays."""
    best: dict[str, tuple[float, str]] = {}
    for subject, model in encoders:
        scores, _ = training_scores(subject, model)
        best[subject] = max(best.get(subject, (-np.inf, "")), (scores[CHAMPION_SCORE], model))
    propose_champions(
        {subject: model for subject, (_, model) in best.items()}, where_there_is_none=True
    )


def _is_scored(stages: dict[str, LockedStage], subject: str, model: str) -> bool:
    """Whether the scores on disk are those of the weights on disk, and pictures and page are
    there too.
    """
    stage = stages.get(stage_of("evaluate", subject, model))
    weights, scores = (
        encoder_folder(subject, model) / "model.safetensors",
        metrics_path(subject, model),
    )
    return (
        stage is not None
        and all(
            path.exists()
            for path in (scores, report_path(subject, model), reconstructions_path(subject, model))
        )
        and stage.deps.get(weights.as_posix()) == hash_file(weights, "md5")
        and stage.outs.get(scores.as_posix()) == hash_file(scores, "md5")
    )


def propose_champions(best: dict[str, str], *, where_there_is_none: bool = False) -> None:
    """Propose the best encoder of each subject, by validation images, as its champion
    (`champions.propose`).

    Parameters
    ----------
    best : dict of str to str
        Model by subject.
    where_there_is_none : bool
        Whether subjects that have a champion are left alone.
    """
    with forgiving("the champion"):
        client, _ = open_store()
        for subject, model in best.items():
            if where_there_is_none and champion_of(client, subject) is not None:
                continue
            logger.info(
                "MLflow: %s",
                propose(
                    client,
                    subject,
                    registered_name(model, subject),
                    md5_tags(encoder_folder(subject, model)),
                ),
            )


def runs_of(client: mlflow.MlflowClient, experiment: str, md5: str) -> list[str]:
    """Say which runs made the file with these bytes, and which read it, one line each."""
    lines = []
    for tag in (MD5_TAG, CONFIG_TAG):
        for run in client.search_runs([experiment], f"tags.`{tag}` = '{md5}'"):
            versions = client.search_model_versions(f"run_id = '{run.info.run_id}'")
            registered = "".join(
                f", registered as models:/{item.name}/{item.version}" for item in versions
            )
            lines.append(f"made by run {run.info.run_name} ({run.info.run_id}){registered}")
    readers = client.search_runs([experiment], f"dataset.digest = '{md5}'")
    return lines + [f"read by run {run.info.run_name} ({run.info.run_id})" for run in readers]


def _own_run(
    client: mlflow.MlflowClient,
    experiment: str,
    files: EncoderFiles,
    live_run: str,
    *,
    is_new: bool,
) -> Run:
    # A training that ran again and found the same weights has a curve of its own, but is the same
    # encoder: one run is enough.
    if (known := find_run(client, experiment, files.md5)) is not None:
        if live_run and live_run != known.info.run_id:
            client.delete_run(live_run)
        return known
    tags = files.tags | lineage_tags(files) | ({} if is_new else {"restored": "true"})
    if not live_run:
        return client.create_run(
            experiment, run_name=run_name(files.subject, files.model), tags=tags
        )
    client.log_batch(live_run, tags=[RunTag(key, value) for key, value in tags.items()])
    return client.get_run(live_run)


def _is_behind(run: Run, tag: str, path: Path) -> bool:
    return run.data.tags.get(tag) != hash_file(path, "md5")


def _log_training(client: mlflow.MlflowClient, run_id: str, files: EncoderFiles) -> None:
    subject, model = files.subject, files.model
    about, settings = files.config["about"], files.config["settings"]
    params = {"model": model, "n_voxels": files.config["n_voxels"], **about}
    params |= {f"{model}.{key}": value for key, value in settings.items()}
    scores, table = training_scores(subject, model)
    client.log_batch(run_id, params=[Param(key, str(value)) for key, value in params.items()])
    note_changes(client, run_id, subject, model, params)
    if len(curve := _curve(subject, model)) > 1:  # an encoder in closed form has no curve
        log_curve(client, run_id, curve)
    datasets = dataset_inputs(subject, model)
    client.log_inputs(run_id, datasets=datasets)
    client.log_text(run_id, table, SCORES_NAME)
    register(client, run_id, encoder_folder(subject, model), files.config, files.tags)
    model_id = linked_model(client, files.config, files.tags)
    client.log_batch(run_id, metrics=linked_points(scores, model_id, datasets))
    client.set_tag(run_id, _TRAINING_TAG, hash_file(training_path(subject, model), "md5"))


def _log_evaluation(client: mlflow.MlflowClient, run_id: str, files: EncoderFiles) -> None:
    subject, model = files.subject, files.model
    remedy = f"dvc repro {stage_of('evaluate', subject, model)}"
    document = MetricsDocument.read(metrics_path(subject, model), remedy=remedy)
    encoding = read_json(
        encoding_scores_path(subject), remedy=f"dvc repro fit_encoding_model@{subject}"
    )
    model_id = linked_model(client, files.config, files.tags)
    datasets = dataset_inputs(subject, model)
    metrics = linked_points(document.flat(encoding["regions"]), model_id, datasets)
    for start in range(0, len(metrics), MOST_METRICS):
        client.log_batch(run_id, metrics=metrics[start : start + MOST_METRICS])
    pictures = picture_pairs(subject, model)
    run = client.get_run(run_id)
    broke_off = _EVALUATION_TAG not in run.data.tags
    there = {
        item.path.removeprefix("images/").split("+")[0].replace("~", "/")
        for item in client.list_artifacts(run_id, "images")
    }
    for key, picture in pictures.items():
        if not (broke_off and key in there):
            client.log_image(run_id, picture, key=key, step=0)
    experiment = client.get_experiment(run.info.experiment_id)
    if experiment.tags.get(VIEW_TAG) == chart_view(
        ()
    ):  # nobody has changed it, and now there are pictures to show
        client.set_experiment_tag(experiment.experiment_id, VIEW_TAG, chart_view(list(pictures)))
    client.log_text(run_id, read_text(report_path(subject, model), remedy=remedy), _PAGE)
    describe(client, files.config, files.tags, document)
    for name in ("dataset", "terms"):
        client.set_tag(run_id, f"data.{name}", document.about.get(name, ""))
    client.set_tag(run_id, _EVALUATION_TAG, hash_file(metrics_path(subject, model), "md5"))


def _curve(subject: str, model: str) -> list[dict[str, float]]:
    """Return a learning curve, one record an epoch."""
    remedy = f"dvc repro {stage_of('train', subject, model)}"
    text = read_text(curve_path(subject, model), remedy=remedy)
    return [
        {key: float(value) for key, value in row.items()}
        for row in csv.DictReader(io.StringIO(text))
    ]
