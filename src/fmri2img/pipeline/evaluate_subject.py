"""Score one encoder on the test images, beside floors and ceilings, and write its page."""

from typing import Any

import numpy as np

from fmri2img.containers.ids import find_rows
from fmri2img.containers.reconstructions import Reconstructions
from fmri2img.containers.true_pictures import TruePictures
from fmri2img.evaluation.diffusion_scores import identify_by_samples, score_halves
from fmri2img.evaluation.documents import (
    latent_map_table,
    metrics_document,
    references_document,
    repetition_table,
    score_table,
)
from fmri2img.evaluation.metrics_document import MetricsDocument
from fmri2img.evaluation.network_features import open_networks
from fmri2img.evaluation.predictions import Predictions, TestTruth
from fmri2img.evaluation.read_outs import Networks
from fmri2img.evaluation.row_predictions import join_truth, model_rows, reference_rows
from fmri2img.evaluation.score import score_model, score_rows
from fmri2img.evaluation.scores import Scores, Steering
from fmri2img.evaluation.table_rows import MODEL, REFERENCE
from fmri2img.pipeline.subject import EncoderData, SubjectData
from fmri2img.project.config import ProjectParams
from fmri2img.project.files import replacing_together, write_json, write_text
from fmri2img.project.layout import (
    latent_map_path,
    metrics_path,
    references_path,
    repetitions_path,
    report_path,
    scores_path,
)
from fmri2img.viz.pages import ReportData, run_page
from fmri2img.viz.posterior_samples import PosteriorSamples


def score_references_of(subject: str, params: ProjectParams) -> None:
    """Write the scores of the rows that all encoders of a subject share.

    Parameters
    ----------
    subject : str
    params : ProjectParams
    """
    data = SubjectData(subject)
    examples, split, latents = data.examples(), data.split(), data.latents()
    ridge = data.encoder(REFERENCE).reconstructions()
    truth = join_truth(examples, split, latents, data.truth(), data.encoding_model())
    networks = open_networks(params.evaluate.networks, params.machine.weights_folder)
    scores = score_rows(truth, reference_rows(truth, examples, split, ridge), networks)
    document = references_document(scores, truth, subject, settings=params.evaluate.model_dump())
    write_json(references_path(subject), document.to_json())


def evaluate_subject(subject: str, model: str, params: ProjectParams) -> None:
    """Write the scores and the page of one encoder.

    Parameters
    ----------
    subject, model : str
    params : ProjectParams
    """
    data, settings = SubjectData(subject), params.evaluate.model_dump()
    # Open first what may be missing: scoring takes minutes.
    references, encoding = data.references(), data.encoding_scores()
    reconstructions = data.encoder(model).reconstructions()
    examples, split, latents, pictures = (
        data.examples(),
        data.split(),
        data.latents(),
        data.truth(),
    )
    networks = open_networks(params.evaluate.networks, params.machine.weights_folder)
    truth = join_truth(examples, split, latents, pictures, data.encoding_model())
    seed = settings["seed"]
    rows, parts = model_rows(truth, examples, split, latents, reconstructions, seed=seed)
    of_tests = {name: settings[name] for name in ("n_permutations", "n_bootstrap", "seed")}
    scores = score_model(truth, rows, parts, networks, **of_tests)
    steering = _score_diffusion(data.encoder(model), reconstructions, pictures, networks, settings)
    document = metrics_document(
        scores,
        truth,
        reconstructions,
        split,
        references,
        settings=settings,
        steering=steering,
    )
    with replacing_together():
        _write(data.encoder(model), document, encoding, scores, truth, rows, reconstructions)


def _score_diffusion(
    data: EncoderData,
    reconstructions: Reconstructions,
    pictures: TruePictures,
    networks: Networks,
    settings: dict[str, Any],
) -> Steering | None:
    """Score what only encoders that steer Stable Diffusion have; None for others."""
    if reconstructions.samples is None:
        return None
    resampling = {name: settings[name] for name in ("n_bootstrap", "seed")}
    halves = score_halves(
        reconstructions,
        data.targets(),
        SubjectData(data.subject).split(),
        **resampling,
        n_permutations=settings["n_permutations"],
    )
    shown = pictures.of(reconstructions.image_ids[reconstructions.rows("test")])
    by_samples = identify_by_samples(shown, reconstructions.samples, networks, **resampling)
    return Steering(halves, by_samples)


def _write(
    data: EncoderData,
    document: MetricsDocument,
    encoding: dict[str, Any],
    scores: Scores,
    truth: TestTruth,
    rows: Predictions,
    reconstructions: Reconstructions,
) -> None:
    """Write the metrics, the tables and the page."""
    subject, model = data.subject, data.model
    profile = scores.profile
    if profile is not None and reconstructions.latents is not None:
        profile = profile.reshape(reconstructions.latents.shape[1:])
    write_json(metrics_path(subject, model), document.to_json())
    write_text(scores_path(subject, model), score_table(scores, truth))
    write_text(repetitions_path(subject, model), repetition_table(scores))
    write_text(latent_map_path(subject, model), latent_map_table(profile))
    page = run_page(
        ReportData(
            subject=subject,
            model=model,
            document=document,
            encoding=encoding,
            per_image=scores.rows.per_image,
            image_ids=truth.image_ids,
            shown=truth.small,
            ceiling=reconstructions.ceiling[reconstructions.rows("test")],
            reconstructed=rows.pictures[MODEL],
            profile=profile,
            decided=_decided(reconstructions, truth),
            posterior=_posterior(reconstructions, truth, rows.pictures[MODEL]),
        )
    )
    write_text(report_path(subject, model), page)


def _posterior(
    reconstructions: Reconstructions, truth: TestTruth, means: np.ndarray
) -> list[PosteriorSamples]:
    """Return samples from the posterior beside the seen pictures and ``means``, those of the
    posterior's mean, shape (n, side, side, 3).
    """
    ids, pictures = reconstructions.posterior_image_ids, reconstructions.posterior_images
    if ids is None or pictures is None:
        return []
    rows = find_rows(truth.image_ids, ids, "images that were scored")
    return [
        PosteriorSamples(truth.image_ids[row].item(), truth.small[row], means[row], samples)
        for row, samples in zip(rows, pictures, strict=True)
    ]


def _decided(reconstructions: Reconstructions, truth: TestTruth) -> np.ndarray | None:
    """Return the share of the variance of latents over training images that the responses to test
    images decided, by place, shape (h, w), as the encoder states it; None for an encoder without a
    prior, whose error is that of validation images.
    """
    stated = reconstructions.latent_sd
    if stated is None or not reconstructions.provenance.get("states_its_spread"):
        return None
    left = np.square(stated[reconstructions.rows("test")]).mean(axis=(0, 1))
    variance = np.square(truth.train_sd).reshape(stated.shape[1:]).mean(axis=0)
    if not np.isfinite(left).all() or variance.shape != left.shape:
        return None
    shares: np.ndarray = 1 - left / variance.clip(min=1e-12)
    return shares
