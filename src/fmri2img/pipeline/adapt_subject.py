"""An encoder for a new person from minutes of scanning, and how good it is after how many of them.

Voxels of the person's regions start from what the same regions of other people respond to
(`models.bayes_population`). The quality after each duration is measured on images that the encoder
of that duration has not seen, all of the person's images in turn.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fmri2img.containers.examples import Examples
from fmri2img.containers.repetitions import averaged_betas
from fmri2img.containers.trial_betas import TrialBetas
from fmri2img.evaluation.identification import similarity_matrix, two_way_identification
from fmri2img.evaluation.metrics.catalogue import ADAPTATION_METRICS
from fmri2img.evaluation.metrics.latent_metrics import pattern_correlations
from fmri2img.models.base import Encoder, VoxelPrior
from fmri2img.models.registry import model_class
from fmri2img.pipeline.new_person import Adaptation, Duration, NewPerson
from fmri2img.project.exceptions import MismatchError
from fmri2img.training.fit import fit_encoder
from fmri2img.training.training_set import training_set_of
from fmri2img.training.voxel_populations import population_for

MODEL = "bayes_population"
_N_FOLDS = 3
_NEARLY_ALL = 0.8
_TINY = 1e-6
# With more voxels, one third of the images stands for all: it would take minutes.
_MANY_VOXELS = 5000
# With minutes of data, a person's own voxels change their priors little, single numbers of a
# description get no weight, and shrinkages cannot be told apart: none of it is worth its time.
QUICK = {
    "n_rounds": 0,
    "pooled_shares": [1.0],
    "places": False,
    "prior_shrinkages": [0.2],
    "noise_shrinkages": [0.75],
    "n_folds": 2,
}


def adapt(person: NewPerson, *, minutes: list[float], seconds_per_trial: float) -> Adaptation:
    """Fit the encoder of a new person, and the encoders of parts of the data that show how quality
    grows.

    Parameters
    ----------
    person : NewPerson
    minutes : list of float
        Durations to judge; those beyond the data are left out.
    seconds_per_trial : float

    Raises
    ------
    MismatchError
        If no trial is left, or the population does not fit.
    """
    order, is_usable = _in_time(person)
    rows = order[is_usable]
    ids = np.unique(person.trials.image_ids[rows])
    settings = person.settings.model_copy(update=QUICK)
    folds = np.random.default_rng(settings.seed).permutation(len(ids)) % _N_FOLDS
    n_judged = 1 if person.trials.n_voxels > _MANY_VOXELS else _N_FOLDS
    held_out = [ids[folds == fold] for fold in range(n_judged)]
    durations = []
    for n in _sizes(len(order), minutes, seconds_per_trial):
        first = order[:n][is_usable[:n]]
        if _can_be_judged(person, first, held_out, 2 * settings.n_folds):
            elapsed = n * seconds_per_trial / 60
            durations.append(_judge(person, settings, rows, first, held_out, elapsed))
    encoder, facts, examples = _fit(person, settings, rows, ids[:0])
    return Adaptation(
        encoder,
        torch.from_numpy(averaged_betas(examples, examples.image_ids[:4])),
        durations,
        len(rows),
        len(ids),
        float(person.latents.of(ids).var(axis=0).mean()),
        facts,
    )


def _in_time(person: NewPerson) -> tuple[np.ndarray, np.ndarray]:
    """Return all trials in time order, and whether each is of an image that is no test image,
    shape (n,) each.
    """
    trials = person.trials
    order = np.lexsort([trials.trial, trials.run, trials.session])
    is_test = trials.is_shared | np.isin(trials.image_ids, person.test_ids)
    is_usable = ~is_test[order]
    if not is_usable.any():
        raise MismatchError(
            f"{trials.provenance['subject']}: all {len(order)} trials showed test images, expected "
            "some of other images; name more sessions"
        )
    rows = order[is_usable]
    unknown = rows[~np.isin(trials.image_ids[rows], person.latents.image_ids)]
    if len(unknown):
        raise MismatchError(
            f"{trials.provenance['subject']}: {len(unknown)} of {len(rows)} trials showed pictures "
            f"without latents, image {trials.image_ids[unknown[0]]} first, expected those of all; "
            "encode them (fmri2img repro encode_latents), or name the file that has them "
            "(--latents)"
        )
    return order, is_usable


def _can_be_judged(
    person: NewPerson, first: np.ndarray, held_out: list[np.ndarray], fewest: int
) -> bool:
    """Whether enough images are left to learn from in the first trials, whatever is held out."""
    images = np.unique(person.trials.image_ids[first])
    left = [len(np.setdiff1d(images, one)) for one in held_out]
    return min(left) >= fewest and min(map(len, held_out)) > 1


def _sizes(n_trials: int, minutes: list[float], seconds: float) -> list[int]:
    """Return numbers of trials, ascending, all of them last; a duration that is nearly all would
    be compared with itself.
    """
    wanted = {round(60 * one / seconds) for one in minutes}
    return sorted({n for n in wanted if 0 < n <= _NEARLY_ALL * n_trials} | {n_trials})


def _judge(
    person: NewPerson,
    settings: Any,
    rows: np.ndarray,
    first: np.ndarray,
    folds: list[np.ndarray],
    minutes: float,
) -> Duration:
    """Score the images of each fold by an encoder of the ``first`` trials that did not see them;
    they are averages over their trials among all ``rows``.
    """
    parts: list[tuple[dict[str, np.ndarray], ...]] = []
    errors, stated = [], []
    for held_out in folds:
        known = first[~np.isin(person.trials.image_ids[first], held_out)]
        shown = rows[np.isin(person.trials.image_ids[rows], held_out)]
        encoder, _, examples = _fit(person, settings, np.concatenate([known, shown]), held_out)
        betas = torch.from_numpy(averaged_betas(examples, held_out))
        repetitions = torch.from_numpy(examples.repetitions_of(held_out))
        with torch.no_grad():
            predicted = encoder(betas, repetitions).flatten(1).numpy()
            spread = encoder.spread(len(betas), repetitions).flatten(1).numpy()
        truth = person.latents.of(held_out).reshape(len(held_out), -1)
        learnt = np.setdiff1d(examples.image_ids, held_out)
        mean = person.latents.of(learnt).mean(axis=0).ravel()
        guesses = (predicted, np.roll(predicted, 1, axis=0))
        parts.append(tuple(_scores(truth, guess, mean) for guess in guesses))
        errors.append(((predicted - truth) ** 2).mean(axis=1))
        stated.append((spread**2).mean(axis=1))
    scores, floors = (
        {name: np.concatenate([part[which][name] for part in parts]) for name in ADAPTATION_METRICS}
        for which in range(2)
    )
    return Duration(
        minutes, len(first), scores, floors, np.concatenate(errors), np.concatenate(stated)
    )


def _scores(truth: np.ndarray, predicted: np.ndarray, mean: np.ndarray) -> dict[str, np.ndarray]:
    similarity = similarity_matrix(truth - mean, predicted - mean)
    values = (pattern_correlations(truth, predicted, mean), two_way_identification(similarity))
    return dict(zip(ADAPTATION_METRICS, values, strict=True))


def _fit(
    person: NewPerson, settings: Any, rows: np.ndarray, held_out: np.ndarray
) -> tuple[Encoder, dict[str, float], Examples]:
    """Fit on some trials but for those of images that are held out; returns the encoder, facts,
    and all these trials.
    """
    examples = _as_examples(person.trials, rows)
    train_ids = np.setdiff1d(examples.image_ids, held_out)
    # Nothing may be learnt from an image that this person is, or will be, judged by.
    judged = np.union1d(person.trials.image_ids, person.test_ids)
    others = person.prior.only(np.setdiff1d(person.prior.image_ids, judged))
    # Nothing is chosen on validation images, and an encoder of all images has none.
    validation_ids = held_out if len(held_out) else train_ids[:1]
    data = training_set_of(
        examples, train_ids, validation_ids, person.latents, others, with_pictures=False
    )
    known = population_for(person.members, examples, judged, person.latents, settings)
    data = replace(data, train=replace(data.train, population=invertible(known)))
    encoder, result = fit_encoder(
        model_class(MODEL),
        settings,
        data,
        load_decoder=_no_decoder,
        checkpoint=Path(),
        on_epoch=lambda _: None,
        owner=person.trials.provenance["subject"],
    )
    return encoder, result.facts, examples


def invertible(known: Mapping[str, VoxelPrior]) -> dict[str, VoxelPrior]:
    """Return a population whose covariances are none of them singular, as nothing else sees to
    that without rounds of learning.
    """
    return {
        name: replace(prior, covariance=prior.covariance + _TINY * torch.eye(len(prior.mean)))
        for name, prior in known.items()
    }


def _no_decoder() -> Any:
    raise TypeError(f"{MODEL} is found in closed form and needs no decoder")


def _as_examples(trials: TrialBetas, rows: np.ndarray) -> Examples:
    """Return some trials sorted by image, then by time; without pictures."""
    order = rows[np.lexsort([rows, trials.image_ids[rows]])]
    ids, first = np.unique(trials.image_ids[order], return_index=True)
    facts = ("voxel_ijk", "roi_labels", "ncsnr", "training_ncsnr", "in_brain", "sessions")
    return Examples(
        **{name: getattr(trials, name) for name in (*facts, "valid", "saturated", "affine")},
        provenance=trials.provenance,
        image_ids=ids,
        images=np.zeros((len(ids), 0, 0, 3), np.uint8),
        is_shared=trials.is_shared[order][first],
        betas=trials.betas[order],
        trial_image_ids=trials.image_ids[order],
        trial_session=trials.session[order],
    )
