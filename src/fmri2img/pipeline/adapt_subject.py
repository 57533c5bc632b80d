"""An encoder for a new person from minutes of scanning, and how good it is after how many of them.

Voxels of the person's regions start from what the same regions of other people respond to
(`models.bayes_population`). The quality after each duration is measured on images that the encoder
of that duration has not seen, all of the person's images in turn.
"""

import itertools
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fmri2img.containers.examples import Examples
from fmri2img.containers.latents import Latents
from fmri2img.containers.repetitions import averaged_betas
from fmri2img.containers.trial_betas import TrialBetas
from fmri2img.containers.voxel_priors import VoxelPriors
from fmri2img.evaluation.identification import similarity_matrix, two_way_identification
from fmri2img.evaluation.inference import bootstrap_intervals
from fmri2img.evaluation.metrics.catalogue import ADAPTATION_METRICS
from fmri2img.evaluation.metrics.latent_metrics import pattern_correlations
from fmri2img.models.base import Encoder
from fmri2img.models.registry import model_class
from fmri2img.project.exceptions import MismatchError
from fmri2img.training.fit import fit_encoder
from fmri2img.training.training_set import training_set_of
from fmri2img.training.voxel_populations import population_for

MODEL = "bayes_population"
_N_FOLDS = 3
_N_BOOTSTRAP = 10_000
# With more voxels, one third of the images stands for all: it would take minutes.
_MANY_VOXELS = 5000
# With minutes of data, a person's own voxels change their priors little, single numbers of a
# description get no weight, and shrinkages cannot be told apart: none of it is worth its time.
_QUICK = {
    "n_rounds": 0,
    "pooled_shares": [1.0],
    "places": False,
    "prior_shrinkages": [0.2],
    "noise_shrinkages": [0.75],
    "n_folds": 2,
}


@dataclass(frozen=True)
class NewPerson:
    """Data of a person, and what there is to learn it with.

    Attributes
    ----------
    trials : TrialBetas
    latents : Latents
        Of the pictures that the trials showed.
    prior : Latents
        Of other pictures; those of the person's own trials are left out.
    members : list of VoxelPriors
        The population.
    settings : Params
        Of `models.bayes_population`.
    """

    trials: TrialBetas
    latents: Latents
    prior: Latents
    members: list[VoxelPriors]
    settings: Any


@dataclass(frozen=True)
class Duration:
    """Quality after some minutes, over the person's images.

    Attributes
    ----------
    minutes : float
    n_trials : int
    scores, floors : dict of str to ndarray, shape (n_images,)
        Of each image when it was held out, and of predictions for other images.
    squared_error, stated_variance : ndarray, shape (n_images,)
        Of its latent: the mean over numbers, and what the encoder expected.
    """

    minutes: float
    n_trials: int
    scores: dict[str, np.ndarray]
    floors: dict[str, np.ndarray]
    squared_error: np.ndarray
    stated_variance: np.ndarray


@dataclass(frozen=True)
class Adaptation:
    """What `adapt` returns.

    Attributes
    ----------
    encoder : Encoder
        Of all trials.
    betas : Tensor, shape (n, n_voxels)
        A few averages, to test a saved encoder with.
    durations : list of Duration
        Ascending; the last one has all trials. Empty if there are too few images to hold any out.
    n_trials, n_images : int
    variance : float
        Mean variance over images of a latent number.
    facts : dict of str to float
        About the solution.
    """

    encoder: Encoder
    betas: torch.Tensor
    durations: list[Duration]
    n_trials: int
    n_images: int
    variance: float
    facts: dict[str, float] = field(default_factory=dict)


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
    rows = _usable_rows(person)
    sizes = _sizes(len(rows), minutes, seconds_per_trial)
    ids = np.unique(person.trials.image_ids[rows])
    settings = person.settings.model_copy(update=_QUICK)
    folds = np.random.default_rng(settings.seed).permutation(len(ids)) % _N_FOLDS
    n_judged = 1 if person.trials.n_voxels > _MANY_VOXELS else _N_FOLDS
    held_out = [ids[folds == fold] for fold in range(n_judged)]
    durations = []
    if len(ids) >= 2 * _N_FOLDS * settings.n_folds:
        durations = [
            _judge(person, settings, rows, rows[:n], held_out, n * seconds_per_trial / 60)
            for n in sizes
        ]
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


def _usable_rows(person: NewPerson) -> np.ndarray:
    """Return the trials of images that are no test images, in time order, shape (n,)."""
    trials = person.trials
    order = np.lexsort([trials.trial, trials.run, trials.session])
    rows = order[~trials.is_shared[order]]
    if not len(rows):
        raise MismatchError(
            f"{trials.provenance['subject']}: all {len(order)} trials showed test images, expected "
            "some of other images; name more sessions"
        )
    unknown = rows[~np.isin(trials.image_ids[rows], person.latents.image_ids)]
    if len(unknown):
        raise MismatchError(
            f"{trials.provenance['subject']}: {len(unknown)} of {len(rows)} trials showed pictures "
            f"without latents, image {trials.image_ids[unknown[0]]} first, expected those of all; "
            "encode them (fmri2img repro encode_latents), or name the file that has them "
            "(--latents)"
        )
    return rows


def _sizes(n_trials: int, minutes: list[float], seconds: float) -> list[int]:
    """Return numbers of trials, ascending, all of them last."""
    wanted = {round(60 * one / seconds) for one in minutes}
    return sorted({n for n in wanted if 0 < n < n_trials} | {n_trials})


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
    others = person.prior.only(np.setdiff1d(person.prior.image_ids, person.trials.image_ids))
    # Nothing is chosen on validation images, and an encoder of all images has none.
    validation_ids = held_out if len(held_out) else train_ids[:1]
    data = training_set_of(
        examples, train_ids, validation_ids, person.latents, others, with_pictures=False
    )
    known = population_for(person.members, examples, examples.image_ids, person.latents, settings)
    data = replace(data, train=replace(data.train, population=known))
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


def describe(adaptation: Adaptation, person: NewPerson) -> dict[str, Any]:
    """Return the numbers of an adaptation: quality after each duration with intervals over images,
    gains from one to the next, and the stated error beside the measured one.
    """
    rng = np.random.default_rng(person.settings.seed)
    durations = adaptation.durations
    gains = [_gain(first, second, rng) for first, second in itertools.pairwise(durations)]
    about = person.trials.provenance
    return {
        "subject": about["subject"],
        "data_source": about["data_source"],
        "population": [member.provenance["subject"] for member in person.members],
        "n_trials": adaptation.n_trials,
        "n_images": adaptation.n_images,
        "n_judged": len(durations[0].squared_error) if durations else 0,
        "n_voxels": int(person.trials.n_voxels),
        "regions": sorted(set(person.trials.roi_names)),
        "durations": [_summary(one, adaptation.variance, rng) for one in durations],
        "gains": gains,
        "stops_paying_after": _enough(durations, gains),
    }


def about_encoder(adaptation: Adaptation, person: NewPerson) -> dict[str, Any]:
    """Return what the encoder was made from; recorded in its config."""
    about, network = person.trials.provenance, person.latents.provenance["autoencoder"]
    return {
        "subject": about["subject"],
        "data.source": about["data_source"],
        "roi": about.get("roi", " + ".join(sorted(set(person.trials.roi_names)))),
        "func_space": about["func_space"],
        "beta_version": about.get("beta_version"),
        "n_repetitions": person.trials.n_repetitions,
        "sessions": len(person.trials.sessions),
        "split": "adapted",
        "n_train_images": adaptation.n_images,
        "n_validation_images": 0,
        "autoencoder": network["name"],
        "autoencoder.revision": network.get("revision"),
        "autoencoder.sha256": network["sha256"],
        "population": ", ".join(member.provenance["subject"] for member in person.members),
    }


def _summary(one: Duration, variance: float, rng: np.random.Generator) -> dict[str, Any]:
    values = np.stack([one.scores[name] for name in ADAPTATION_METRICS])
    intervals = bootstrap_intervals(values, _N_BOOTSTRAP, rng)
    scores = {
        name: {
            "value": round(float(mean), 6),
            "low": round(float(low), 6),
            "high": round(float(high), 6),
            "floor": round(float(one.floors[name].mean()), 6),
        }
        for name, mean, (low, high) in zip(
            ADAPTATION_METRICS, values.mean(1), intervals, strict=True
        )
    }
    return {
        "minutes": round(one.minutes, 2),
        "n_trials": one.n_trials,
        **scores,
        "error_stated": round(float(one.stated_variance.mean()) / variance, 6),
        "error_measured": round(float(one.squared_error.mean()) / variance, 6),
    }


def _gain(first: Duration, second: Duration, rng: np.random.Generator) -> dict[str, Any]:
    name = ADAPTATION_METRICS[0]
    difference = second.scores[name] - first.scores[name]
    ((low, high),) = bootstrap_intervals(difference[None], _N_BOOTSTRAP, rng)
    return {
        "from_minutes": round(first.minutes, 2),
        "to_minutes": round(second.minutes, 2),
        name: round(float(difference.mean()), 6),
        "low": round(float(low), 6),
        "high": round(float(high), 6),
    }


def _enough(durations: list[Duration], gains: list[dict[str, Any]]) -> float | None:
    """Return the minutes after which no further step is a gain that can be told from none; None if
    the last one still is, or there is no step.
    """
    if not gains or gains[-1]["low"] > 0:
        return None
    last = max((number + 1 for number, gain in enumerate(gains) if gain["low"] > 0), default=0)
    return round(durations[last].minutes, 2)
