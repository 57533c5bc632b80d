"""What `quality` trains: experiments, encoders and their scores, a file each. SIMULATED DATA."""

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a process a core beats two threads

import numpy as np
import torch
import yaml
from measuring import sized
from worlds import (
    JUDGED,
    N_TEST,
    TEST_REPETITIONS,
    VAE,
    Pool,
    World,
    fresh,
    load_pool,
    make_world,
)

from fmri2img.containers.voxel_priors import VoxelPriors
from fmri2img.datasets.nsd.paths import subject_number
from fmri2img.datasets.simulation.worlds import FOR_CHOOSING, STANDARD
from fmri2img.evaluation.correlation import pixel_correlations
from fmri2img.evaluation.identification import similarity_matrix, two_way_identification
from fmri2img.evaluation.metrics.latent_metrics import pattern_correlations
from fmri2img.generation.decode import decode_latents
from fmri2img.models._population import learn_priors
from fmri2img.models.base import Encoder, VoxelPrior
from fmri2img.models.registry import model_class
from fmri2img.pipeline.adapt_subject import QUICK, invertible
from fmri2img.pretrained.autoencoder import load_autoencoder
from fmri2img.project.config import Params
from fmri2img.project.files import write_json
from fmri2img.training.fit import fit_encoder
from fmri2img.training.voxel_populations import pool as pool_priors

SUBJECTS, SEEDS = sized(((1, 2, 5, 7), (1, 2, 3)), ((1,), (1,)))
MEMBERS = sized(SUBJECTS, (2,))  # a population is these without the subject itself
FEW, SESSIONS = sized(((75, 150, 300, 750), (3, 10)), ((12,), (3,)))
# Three seeds, and parts of the model taken away one at a time.
CLOSELY = sized((150, 750), FEW)
RIDGE_TRIALS = sized(1950, 13)  # those of ridge that bayes is to do without
# Repetitions of every picture for the ceiling: the trials of a hundred sessions.
MANY = sized(13, 2)
# A group is what is trained on one experiment in one go.
GROUPS = {
    "closed": ("ridge", "bayes_independent", "bayes", "bayes_population"),
    "ablations": ("bayes, no energies", "bayes, no pooling"),
    "gradient": ("basic_ae", "low_level"),
    "blend": ("blend",),
    "ridge": ("ridge",),
    "ceiling": ("bayes",),
    "worlds": ("ridge", "low_level", "bayes_independent", "bayes"),
    "few_in_worlds": ("ridge", "bayes_independent", "bayes", "bayes_population"),
    "adapt": ("adapt",),
    "population": ("bayes_population",),  # with many trials it trains by itself
}
# Models by the names of tables, where these differ.
MODELS = {"adapt": "bayes_population"}
ABLATIONS = {
    "bayes, no energies": {"energies": False},
    "bayes, no pooling": {"pooled_shares": [0.0]},
}
CHANGES = (
    {"adapt": QUICK}
    | ABLATIONS
    | {f"{name}, no clipping": {"clip_mads": 0} for name in ("ridge", "bayes")}
)
# Changes to params.yaml for 300 voxels: a network of 1024 hidden units and 64 channels was no
# better, and took longer.
SMALL = {
    "hidden_size": sized(512, 16),
    "channels": sized(32, 8),
    "learning_rate": 0.001,
    "n_seeds": 1,
}
# With many images, fewer epochs of larger batches were as good (10 sessions of photographs: latent
# r 0.377 against 0.375). With few they were not (1 session: 0.221 against 0.327; 120 epochs:
# 0.302).
FEW_EPOCHS, MANY_EPOCHS = (
    {"batch_size": 128, "epochs": sized(15, 1)},
    {"batch_size": 64, "epochs": sized(40, 1)},
)
MANY_IMAGES = 2000
# With 150 trials smaller batches were better on subject 8's validation images: latent r 0.305
# against 0.255 for photographs, 0.052 against 0.049 for scenes; with them, more epochs were not.
SMALL_BATCHES = {"batch_size": 16, "epochs": sized(40, 1)}
FEW_IMAGES = 300
# Steps of half a decade: on subject 8's validation images up to .008 better in latent r than whole
# ones, the default, in about twice the time. Trials were better than averages.
FINE = {"penalties": [10 ** (step / 2) for step in range(2, 13)]}
N_DECODED = sized(100, 4)  # how many of the test images are decoded
TINY_BAYES = sized(
    {},
    {"prior_shrinkages": [0.2], "noise_shrinkages": [0.75], "noise_scales": [1.0]},
)
PARAMS = Path(__file__).resolve().parents[1] / "params.yaml"


@dataclass(frozen=True)
class Size:
    """How much a subject was scanned: so many sessions, of which only the first trials count if
    ``trials`` is not 0. No sessions: every picture many times.
    """

    sessions: int = 3
    trials: int = 0

    def __str__(self) -> str:
        if self.trials:
            return f"{self.trials} trials"
        return f"{self.sessions} sessions" if self.sessions else "100 sessions"


OF_OTHER_SIZES = ("few_images", "many_voxels")  # worlds
# Sizes with other test pictures than those on which subject 8 was looked at.
FRESH_SIZES = sized((Size(trials=150), Size(trials=750)), (Size(trials=FEW[0]),))
SIZES = (*(Size(trials=trials) for trials in FEW), *(Size(sessions) for sessions in SESSIONS))
RIDGE_SIZE, CEILING = Size(trials=RIDGE_TRIALS), Size(0)


@dataclass(frozen=True)
class Job:
    """One simulated subject, and the models to train on it."""

    stimuli: str
    subject: int
    seed: int
    size: Size
    group: str
    world: str = STANDARD

    @property
    def name(self) -> str:
        """Name of the file with the results, without its ending."""
        size = str(self.size).replace(" ", "")
        return f"{self.stimuli}-{self.subject}-{self.seed}-{size}-{self.world}-{self.group}"

    @property
    def models(self) -> tuple[str, ...]:
        """What is trained; with a population and many trials only in a group of its own."""
        names = GROUPS[self.group]
        has_it = self.size.trials or self.group == "population"
        return names if has_it else tuple(n for n in names if n != "bayes_population")


def all_jobs(kinds: list[str]) -> Iterator[Job]:
    """Yield the jobs of the tables; those that answer most come first."""
    seed, *further = SEEDS
    for kind in reversed(kinds):
        for trials, subject in product(FEW, SUBJECTS):
            yield Job(kind, subject, seed, Size(trials=trials), "closed")
        for subject in SUBJECTS:
            yield Job(kind, subject, seed, RIDGE_SIZE, "ridge")
    yield from jobs_of_worlds()
    for kind, trials, subject in product(reversed(kinds), FEW, SUBJECTS):
        yield Job(kind, subject, seed, Size(trials=trials), "adapt")
    for kind, size, subject in product(reversed(kinds), FRESH_SIZES, SUBJECTS):
        yield Job(fresh(kind), subject, seed, size, "closed")
    for sessions, kind, subject in product(SESSIONS, reversed(kinds), SUBJECTS):
        yield Job(kind, subject, seed, Size(sessions), "closed")
    for sessions, kind, subject in product(SESSIONS, reversed(kinds), SUBJECTS):
        yield Job(kind, subject, seed, Size(sessions), "population")
    for other, trials, kind, subject in product(further, CLOSELY, reversed(kinds), SUBJECTS):
        yield Job(kind, subject, other, Size(trials=trials), "closed")
    for other, kind, subject in product(further, reversed(kinds), SUBJECTS):
        yield Job(kind, subject, other, RIDGE_SIZE, "ridge")
    for trials, kind, subject in product(CLOSELY, kinds, SUBJECTS):
        yield Job(kind, subject, seed, Size(trials=trials), "ablations")
    for trials, kind, subject in product(CLOSELY, kinds, SUBJECTS):
        yield Job(kind, subject, seed, Size(trials=trials), "gradient")
    for kind, subject in product(kinds, SUBJECTS):
        yield Job(kind, subject, seed, Size(trials=CLOSELY[-1]), "blend")
        yield Job(kind, subject, seed, Size(SESSIONS[0]), "gradient")
        yield Job(kind, subject, seed, CEILING, "ceiling")


def jobs_of_worlds() -> Iterator[Job]:
    """Yield the jobs of each world, one seed of scenes: three sessions of one subject, and the
    least number of trials of all subjects, where a population may help.
    """
    for world in JUDGED:
        yield Job("scenes", 1, 1, Size(3), "worlds", world)
    for world, subject in product(JUDGED, SUBJECTS):
        if world not in OF_OTHER_SIZES:
            yield Job("scenes", subject, 1, Size(trials=FEW[0]), "few_in_worlds", world)


def settings_of(name: str, n_images: int) -> Params:
    """Return the settings of ``params.yaml`` with the changes above."""
    model = _model(name)
    steps = FEW_EPOCHS if n_images > MANY_IMAGES else MANY_EPOCHS
    low_level = SMALL | (steps if n_images > FEW_IMAGES else SMALL_BATCHES)
    sections = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))["train"]
    section = sections[model] | {
        "ridge": FINE,
        "basic_ae": sized({"n_seeds": 1}, {"n_seeds": 1, "hidden_sizes": [16], "epochs": 1}),
        "low_level": low_level,
        "blend": {
            "bayes": sections["bayes"] | TINY_BAYES,
            "low_level": sections["low_level"] | low_level,
        },
    }.get(model, {})
    section |= TINY_BAYES if model.startswith("bayes") else {}
    return model_class(model).Settings.model_validate(section | CHANGES.get(name, {}))


def _model(name: str) -> str:
    return MODELS.get(name, name.partition(",")[0])


def train(world: World, name: str, folder: Path) -> Encoder:
    """Train one model on one experiment."""
    settings = settings_of(name, len(world.data.train.latents))
    checkpoint = folder / f"{os.getpid()}-{_model(name)}.safetensors"
    encoder, _ = fit_encoder(
        model_class(_model(name)),
        settings,
        world.data,
        load_decoder=lambda: None,
        checkpoint=checkpoint,
        on_epoch=lambda _: None,
    )
    checkpoint.unlink(missing_ok=True)
    return encoder


_pool = lru_cache(maxsize=2)(load_pool)
_autoencoder = lru_cache(maxsize=1)(load_autoencoder)


@lru_cache(maxsize=len(SUBJECTS) * len(SEEDS))
def _member(
    stimuli: str, photos: Path | None, work: Path, subject: int, seed: int, name: str
) -> VoxelPriors:
    """Return what the voxels of a member of the population respond to, learnt from three
    sessions in the same world.
    """
    pool = _pool(stimuli, photos, work)
    world = make_world(pool, subject=subject, seed=seed, sessions=SESSIONS[0], name=name)
    learnt = learn_priors(world.data.train, settings_of("bayes_population", 0))
    priors = [prior for _, prior in learnt.values()]
    return VoxelPriors(
        regions=np.array(list(learnt)),
        n_voxels=np.array([n for n, _ in learnt.values()], np.int64),
        means=torch.stack([prior.mean for prior in priors]).numpy(),
        covariances=torch.stack([prior.covariance for prior in priors]).numpy(),
        window_shares=torch.stack([prior.sizes for prior in priors]).numpy(),
        image_ids=np.arange(0),
        provenance={},
    )


def population(job: Job, photos: Path | None, work: Path) -> dict[str, VoxelPrior]:
    """Pool what was learnt from the other subjects."""
    others = [member for member in MEMBERS if member != job.subject]
    return pool_priors(
        [_member(job.stimuli, photos, work, one, job.seed, job.world) for one in others]
    )


def decode(predicted: np.ndarray) -> np.ndarray:
    """Decode only the first `N_DECODED` latents: decoding takes as long as training."""
    return decode_latents(predicted[:N_DECODED], _autoencoder(str(VAE), "main"), batch_size=8)


def score(
    predicted: np.ndarray, pictures: np.ndarray, pool: Pool, mean: np.ndarray
) -> dict[str, list[float]]:
    """Return the scores of each test image; latents are centred on ``mean``."""
    truth = pool.latents[:N_TEST].reshape(N_TEST, -1)
    flat = predicted.reshape(N_TEST, -1)
    scores = {
        "pattern": pattern_correlations(truth, flat, mean),
        "pixcorr": pixel_correlations(pool.pictures[:N_DECODED], pictures),
        "two_way": two_way_identification(similarity_matrix(truth - mean, flat - mean)),
    }
    return {metric: np.round(values, 6).tolist() for metric, values in scores.items()}


def run(job: Job, photos: Path | None, work: Path) -> None:
    """Simulate, train, score and store.

    Raises
    ------
    ValueError
        If the subject is the one on whom defaults may be chosen.
    """
    if job.subject == subject_number(FOR_CHOOSING):
        raise ValueError(f"{FOR_CHOOSING} is for choosing settings, expected another subject")
    path = work / f"{job.name}.json"
    if path.exists():
        return
    torch.set_num_threads(1)
    pool = _pool(job.stimuli, photos, work)
    world = make_world(
        pool,
        subject=job.subject,
        seed=job.seed,
        sessions=job.size.sessions,
        trials=job.size.trials,
        name=job.world,
        repetitions=None if job.size.sessions else MANY,
    )
    # The same for every size: the mean of a few training images has an error that the priors of
    # some encoders, which know more pictures, would share with the truth.
    mean = pool.latents[N_TEST:].mean(0)
    scores = {}
    for name in job.models:
        if _model(name) == "bayes_population":
            known = population(job, photos, work)
            world = world.informed(invertible(known) if name == "adapt" else known)
        encoder = train(world, name, work)
        with torch.no_grad():
            predicted = encoder(world.test_betas, torch.full((N_TEST,), TEST_REPETITIONS)).numpy()
        pictures = decode(predicted)
        scores[name] = score(predicted, pictures, pool, mean.ravel())
        if name in ("ridge", "bayes"):  # other images' predictions
            floor = "shuffled" if name == "ridge" else f"shuffled, {name}"
            scores[floor] = score(
                np.roll(predicted, 1, axis=0), np.roll(pictures, 1, axis=0), pool, mean.ravel()
            )
        if name == "ridge":
            constant = [
                np.repeat(values, n, axis=0)
                for values, n in ((mean[None], N_TEST), (decode(mean[None]), N_DECODED))
            ]
            scores["mean latent"] = score(*constant, pool, mean.ravel())
    about = {
        "train_images": len(world.data.train.latents),
        "train_trials": len(world.data.train.betas),
    }
    write_json(path, {"job": asdict(job), "about": about, "scores": scores})
