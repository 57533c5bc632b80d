"""What is known of a new person, and what an adaptation found, as numbers."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from fmri2img.containers.latents import Latents
from fmri2img.containers.trial_betas import TrialBetas
from fmri2img.containers.voxel_priors import VoxelPriors
from fmri2img.evaluation.inference import bootstrap_intervals
from fmri2img.evaluation.metrics.catalogue import ADAPTATION_METRICS
from fmri2img.evaluation.metrics_document import data_sentence
from fmri2img.models.base import Encoder
from fmri2img.project.exceptions import MismatchError

_N_BOOTSTRAP = 10_000


@dataclass(frozen=True)
class NewPerson:
    """Data of a person, and what there is to learn it with.

    Attributes
    ----------
    trials : TrialBetas
    latents : Latents
        Of the pictures that the trials showed.
    prior : Latents
        Of other pictures; those of the person's own trials and test images are left out.
    members : list of VoxelPriors
        The population.
    settings : Params
        Of `models.bayes_population`.
    test_ids : ndarray, shape (n,)
        Images that later tests need unseen, besides those that the dataset sets apart.

    Raises
    ------
    MismatchError
        If pictures and brain are not both simulated or both real, the prior's pictures were encoded
        by another autoencoder, or a person is in the population twice.
    """

    trials: TrialBetas
    latents: Latents
    prior: Latents
    members: list[VoxelPriors]
    settings: Any
    test_ids: np.ndarray

    def __post_init__(self) -> None:
        n_energies = self.latents.energies.shape[1] if self.settings.energies else 0
        expected = (self.latents.values.shape[1] + n_energies, 1 + len(self.settings.window_sizes))
        people = [member.provenance["subject"] for member in self.members]
        if twice := sorted({name for name in people if people.count(name) > 1}):
            raise MismatchError(
                f"population: {twice[0]} is given {people.count(twice[0])} times, expected every "
                "person once; name one file or version of each (--population)"
            )
        for member in self.members:
            got = (member.means.shape[1], member.window_shares.shape[1])
            if got != expected:
                raise MismatchError(
                    f"population: {member.provenance['subject']} has {got[0]} channels and "
                    f"{got[1]} window sizes, expected {expected[0]} and {expected[1]} as in "
                    "train.bayes_population; take members that were learnt with these settings"
                )
        about, pictures = self.trials.provenance, self.latents.provenance
        owner = about["subject"]
        for name, other in (("latents", pictures), ("prior", self.prior.provenance)):
            if other["autoencoder"]["sha256"] != pictures["autoencoder"]["sha256"]:
                raise MismatchError(
                    f"adapt: the pictures of the {name} were encoded by "
                    f"{other['autoencoder']['name']}, those of {owner} by "
                    f"{pictures['autoencoder']['name']}; run the command in a project with the "
                    "same autoencoder"
                )
            is_simulated = other["data_source"] == "simulated"
            if is_simulated != (about["data_source"] == "simulated"):
                raise MismatchError(
                    f"adapt: the {name} are of {other['data_source']}, {owner} is of "
                    f"{about['data_source']}; run the command in a project of the same data"
                )


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


def describe(adaptation: Adaptation, person: NewPerson) -> dict[str, Any]:
    """Return the numbers of an adaptation: quality after each duration with intervals over images,
    gains from one to the next, and the stated error beside the measured one.
    """
    rng = np.random.default_rng(person.settings.seed)
    durations = adaptation.durations
    gains = [_gain(first, second, rng) for first, second in pairwise(durations)]
    about = person.trials.provenance
    return {
        "subject": about["subject"],
        "data_source": about["data_source"],
        "origin": data_sentence(about.get("title", ""), about.get("terms", "")),
        "population": [member.provenance["subject"] for member in person.members],
        "n_trials": adaptation.n_trials,
        "n_images": adaptation.n_images,
        "n_judged": len(durations[0].squared_error) if durations else 0,
        "n_voxels": int(person.trials.n_voxels),
        "regions": sorted(set(person.trials.roi_names)),
        "durations": [_summary(one, adaptation.variance, rng) for one in durations],
        "gains": gains,
        "chosen_by_ncsnr": about.get("selection", {}).get("min_ncsnr", 0) > 0,
        "stops_paying_after": _enough(durations, gains),
        "predicts_the_mean": bool(adaptation.facts.get("predicts_the_mean")),
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
