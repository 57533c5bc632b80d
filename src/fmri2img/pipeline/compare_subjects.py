"""Put all subjects and models side by side, and name each subject's champion."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fmri2img.containers.reconstructions import Reconstructions
from fmri2img.datasets.marks import SIMULATED
from fmri2img.evaluation.comparisons import (
    brain_differences,
    check_scored_alike,
    corrected_p,
    means_over_subjects,
    paired_differences,
)
from fmri2img.evaluation.metrics.catalogue import (
    CHAMPION_METRIC,
    CHAMPION_SCORE,
    headline_metrics,
)
from fmri2img.evaluation.metrics_document import MetricsDocument
from fmri2img.evaluation.table_rows import MODEL
from fmri2img.evaluation.verdict import outcomes, verdict
from fmri2img.pipeline.subject import EncoderData, SubjectData
from fmri2img.project.config import ProjectParams
from fmri2img.project.files import replacing_together, write_bytes, write_json, write_text
from fmri2img.project.layout import (
    comparison_path,
    headlines_path,
    overview_path,
    pictures_folder,
    side_by_side_path,
)
from fmri2img.viz.compared_run import ComparedRun
from fmri2img.viz.comparison import comparison_figure, comparison_markdown
from fmri2img.viz.overview import ShownPictures, overview_page
from fmri2img.viz.pages import ListedRun, comparison_page
from fmri2img.viz.side_by_side import SubjectPictures, picture_strips, side_by_side_page

_Documents = dict[str, MetricsDocument]
_Tables = dict[str, dict[str, pd.DataFrame]]


def compare_subjects(params: ProjectParams) -> dict[str, str]:
    """Write the comparison.

    Parameters
    ----------
    params : ProjectParams

    Returns
    -------
    dict of str to str
        Best model on validation images, by subject.
    """
    encoders = [
        EncoderData(subject, model) for subject in params.subjects for model in params.models
    ]
    documents = {encoder.name: encoder.metrics() for encoder in encoders}
    check_scored_alike(documents)
    p_values = corrected_p(documents)
    tables: _Tables = {subject: {} for subject in params.subjects}
    for encoder in encoders:
        tables[encoder.subject][encoder.model] = encoder.scores()
    differences = paired_differences(tables)
    compared = outcomes(differences)
    runs: list[ComparedRun] = []
    shown: dict[str, ShownPictures] = {}
    side_by_side: list[SubjectPictures] = []
    scored = [one for one in encoders if one.model not in params.models.diffusion]
    ood = {test: {one.name: one.ood_metrics(test) for one in scored} for test in params.ood}
    for of_test in ood.values():
        check_scored_alike(of_test, "evaluate_ood")
    for subject in params.subjects:
        mine = [encoder for encoder in encoders if encoder.subject == subject]
        runs_of_subject, shown[subject] = _runs_of(
            mine, documents, p_values, compared, params.compare.n_pictures, ood
        )
        runs += runs_of_subject
        side_by_side.append(_pictures_of(mine, tables[subject], params.compare.n_gallery))
    with replacing_together():
        _write(runs, documents, shown, tables, differences, ood)
        origin = next(iter(documents.values())).origin
        kept = _write_pictures(side_by_side, next(iter(shown.values())).data_source, origin)
    for path in pictures_folder().glob("*/[!.]*.jpg"):
        if path not in kept:
            path.unlink()
    return {run.subject: run.model for run in runs if run.is_champion}


def _runs_of(
    encoders: list[EncoderData],
    documents: _Documents,
    p_values: dict[str, dict[str, float]],
    compared: dict[str, dict[str, str]],
    n_pictures: int,
    ood: dict[str, _Documents],
) -> tuple[list[ComparedRun], ShownPictures]:
    """Collect the encoders of one subject; the best on validation images is its champion."""
    validation = {encoder.model: encoder.training_scores()[CHAMPION_SCORE] for encoder in encoders}
    champion = max(validation, key=lambda model: validation[model])
    runs = []
    for encoder in encoders:
        reconstructions = encoder.reconstructions(on_disk=Reconstructions.large)
        rows = reconstructions.rows("test")[:n_pictures]
        run = ComparedRun.of(
            encoder.subject,
            encoder.model,
            documents[encoder.name],
            p_values[encoder.name],
            validation[encoder.model],
            encoder.model == champion,
            compared.get(encoder.name, {}),
            reconstructions.images[rows],
        )
        elsewhere = {
            test: scores[encoder.name] for test, scores in ood.items() if encoder.name in scores
        }
        runs.append(replace(run, ood=elsewhere))
    examples = SubjectData(encoders[0].subject).examples(on_disk=["betas", "images"])
    image_ids = reconstructions.image_ids[rows]
    truth = examples.images[examples.rows_of(image_ids)]
    source = examples.provenance["data_source"]
    return runs, ShownPictures(image_ids, truth, reconstructions.ceiling[rows], source)


def _pictures_of(
    encoders: list[EncoderData], tables: dict[str, pd.DataFrame], n_images: int
) -> SubjectPictures:
    """Collect the first test images of a subject by every encoder."""
    reconstructed, scores, stated = {}, {}, {}
    for encoder in encoders:
        reconstructions = encoder.reconstructions(on_disk=Reconstructions.large)
        table = tables[encoder.model]
        rows = reconstructions.rows("test")[:n_images]
        ids, ceiling = reconstructions.image_ids[rows], reconstructions.ceiling[rows]
        reconstructed[encoder.model] = reconstructions.images[rows]
        if CHAMPION_METRIC in table:
            scores[encoder.model] = table[CHAMPION_METRIC].to_numpy()[:n_images]
        if reconstructions.latent_sd is not None:
            variances = np.square(reconstructions.latent_sd[rows]).mean(axis=(1, 2, 3))
            stated[encoder.model] = np.sqrt(variances)
    examples = SubjectData(encoders[0].subject).examples(on_disk=["betas", "images"])
    truth = examples.images[examples.rows_of(ids)]
    subject = encoders[0].subject
    return SubjectPictures(subject, ids, truth, ceiling, reconstructed, scores, stated)


def _write_pictures(subjects: list[SubjectPictures], data_source: str, origin: str) -> set[Path]:
    """Write the page of all encoders' pictures; returns the pictures that it shows."""
    strips = {path: strip for one in subjects for path, strip in picture_strips(one).items()}
    for path, strip in strips.items():
        write_bytes(path, strip)
    write_text(side_by_side_path(), side_by_side_page(subjects, data_source, origin))
    return set(strips)


def _write(
    runs: list[ComparedRun],
    documents: _Documents,
    shown: dict[str, ShownPictures],
    tables: _Tables,
    differences: list[dict[str, Any]],
    ood: dict[str, _Documents],
) -> None:
    """Write figure, pages, Markdown and JSON."""
    data_source = list(shown.values())[-1].data_source
    truth = {subject: pictures.truth for subject, pictures in shown.items()}
    ceiling = {subject: pictures.ceiling for subject, pictures in shown.items()}
    figure = io.BytesIO()
    comparison_figure(runs, truth, ceiling, data_source).savefig(figure, dpi=110)
    write_bytes(comparison_path("png"), figure.getvalue())
    means = means_over_subjects(tables)
    encoding = {subject: SubjectData(subject).encoding_scores() for subject in shown}
    summaries = {f"{run.subject}/{run.model}": run.summary() for run in runs}
    n_permutations = min(document.about["n_permutations"] for document in documents.values())
    faults = [f"{name}: {fault}" for name in shown if (fault := _mistake(name))]
    of_brain = brain_differences(tables)
    said = verdict(
        summaries,
        differences,
        n_permutations,
        brain_differences=of_brain,
        is_simulated=data_source == SIMULATED,
    )
    sentences = [*faults, *said]
    page = comparison_page(
        [_listed(run, documents) for run in runs],
        data_source,
        sentences,
        [*differences, *of_brain],
        means,
        encoding,
        figure.getvalue(),
        ood,
    )
    write_text(comparison_path("html"), page)
    origin = next(iter(documents.values())).origin
    write_text(overview_path(), overview_page(runs, shown, sentences, origin))
    figure_name = comparison_path("png").name
    markdown = comparison_markdown(runs, data_source, sentences, figure_name, n_permutations)
    write_text(comparison_path("md"), markdown)
    document: dict[str, Any] = {"data_source": data_source, "verdict": sentences, "runs": summaries}
    document |= {"means": means, "differences": differences, "brain_differences": of_brain}
    write_json(comparison_path("json"), document)
    write_json(headlines_path(), _headlines(runs))


def _mistake(subject: str) -> str:
    """Say what does not belong together in a subject's files, and what it means for the scores;
    empty if nothing is wrong.
    """
    fault = SubjectData(subject).alignment()["fault"]
    remedy = f"scores may be at chance for this reason; run: fmri2img check-alignment {subject}"
    return f"{fault}; {remedy}" if fault else ""


def _headlines(runs: list[ComparedRun]) -> dict[str, dict[str, dict[str, float]]]:
    """Return the headline scores by subject and model: few enough for ``dvc metrics diff``."""
    headlines: dict[str, dict[str, dict[str, float]]] = {}
    for run in runs:
        means = run.means[MODEL]
        scores = {name: means[name] for name in headline_metrics() if name in means}
        headlines.setdefault(run.subject, {})[run.model] = scores
    return headlines


def _listed(run: ComparedRun, documents: _Documents) -> ListedRun:
    document = documents[f"{run.subject}/{run.model}"]
    outcomes_of_run = run.against_reference
    return ListedRun(run.subject, run.model, run.is_champion, document, outcomes_of_run)
