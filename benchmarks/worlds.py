"""Simulated experiments in memory, of any size: one set of pictures, any number of brains and
noises. All of it is simulated.

The voxels are the simulator's, in any of its worlds (`fmri2img.datasets.simulation.worlds`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from joblib import Parallel, delayed
from measuring import simulated_nsd, sized
from PIL import Image

from fmri2img.datasets.nsd.design import RUNS_PER_SESSION
from fmri2img.datasets.simulation.cortex import func_to_anat_mm
from fmri2img.datasets.simulation.dataset import SimulatedSubject
from fmri2img.datasets.simulation.network_drives import network_drives
from fmri2img.datasets.simulation.picture_drives import N_DEEP, picture_drives
from fmri2img.datasets.simulation.scenes import CATEGORIES, describe_scene, render_image
from fmri2img.datasets.simulation.trial_noise import draw_noise_sources, session_noise
from fmri2img.datasets.simulation.voxel_responses import (
    VoxelModel,
    make_betas,
    noise_free_responses,
)
from fmri2img.datasets.simulation.worlds import STANDARD, WORLDS
from fmri2img.features.energies import contrast_energies
from fmri2img.features.vae_latents import encode_pictures
from fmri2img.models.base import TrainingTensors, VoxelPrior
from fmri2img.pretrained.autoencoder import load_autoencoder
from fmri2img.training.data import TrainingSet, ValidationTensors

VAE = Path(__file__).resolve().parents[1] / "models" / "demo-vae"
N_TEST, N_POOL = sized((200, 6000), (6, 70))
N_VOXELS, SESSION_TRIALS, TEST_REPETITIONS = sized((300, 750, 3), (40, 6, 3))
_SIDE, _CANVAS = 128, 170  # pixels of the pictures, and of what the simulated cortex sees
JUDGED = sized(tuple(WORLDS), ("late_layers",))
Betas = Callable[[np.ndarray, int], np.ndarray]


@dataclass(frozen=True)
class Pool:
    """Pictures, the first `N_TEST` of which are test images; no other picture is a crop of a test
    photograph.
    """

    pictures: np.ndarray
    drives: np.ndarray
    middle_layers: np.ndarray
    late_layers: np.ndarray
    categories: np.ndarray
    latents: np.ndarray
    energies: np.ndarray


def fresh(stimuli: str) -> str:
    """Return the name of other pictures of a kind; test photographs are then some that were
    pictures for training.
    """
    return f"fresh-{stimuli}"


def load_pool(stimuli: str, photos: Path | None, cache: Path) -> Pool:
    """Return painted scenes, or crops of a folder of photographs, or those of `fresh`; made once,
    and kept in ``cache``.
    """
    path = cache / f"{stimuli}.npz"
    if not path.exists():
        paths = sorted(photos.rglob("*.jpg")) if photos else []
        jobs = (delayed(_one)(stimuli, index, paths) for index in range(N_POOL))
        pictures, drives, categories = zip(
            *Parallel(n_jobs=sized(-1, 1), batch_size=32)(jobs), strict=True
        )
        small = np.stack(pictures)
        latents = encode_pictures(small, load_autoencoder(str(VAE), "main"), batch_size=32)
        cache.mkdir(parents=True, exist_ok=True)
        np.savez(
            path,
            pictures=small,
            drives=drives,
            middle_layers=network_drives(small, "middle layers"),
            late_layers=network_drives(small, "late layers"),
            categories=categories,
            latents=latents,
            energies=contrast_energies(small),
        )
    with np.load(path) as stored:
        return Pool(**stored)


def _one(stimuli: str, index: int, paths: list[Path]) -> tuple[np.ndarray, np.ndarray, int]:
    is_fresh, kind = stimuli.startswith("fresh-"), stimuli.removeprefix("fresh-")
    if kind == "scenes":
        seed = 8 if is_fresh else 7
        picture, category = (
            render_image(seed, index, _CANVAS),
            CATEGORIES.index(describe_scene(seed, index).category),
        )
    else:
        first = 1 if is_fresh else 0
        kept = paths[first::3]
        others = [path for place, path in enumerate(paths) if place % 3 != first]
        mine, turn = (kept, index) if index < N_TEST else (others, index - N_TEST)
        picture, category = _crop(mine[turn % len(mine)], turn // len(mine)), -1
    small = np.asarray(Image.fromarray(picture).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC))
    return small, picture_drives(picture), category


def _crop(path: Path, turn: int) -> np.ndarray:
    """Cut a square from a photograph, a different one each turn."""
    rng = np.random.default_rng([turn, 425])
    with Image.open(path) as photo:
        whole = photo.convert("RGB")
    side = round(min(whole.size) * (1.0 if turn == 0 else rng.uniform(0.6, 0.95)))
    left, top = (round((extent - side) * rng.random()) for extent in whole.size)
    square = whole.crop((left, top, left + side, top + side)).resize(
        (_CANVAS, _CANVAS), Image.Resampling.BICUBIC
    )
    return np.asarray(square)[:, :: -1 if turn % 2 else 1]


@dataclass(frozen=True)
class World:
    """One subject's experiment.

    Attributes
    ----------
    data : TrainingSet
        Its validation images are a tenth of the training images, set aside.
    test_betas : Tensor, shape (N_TEST, n_voxels)
        Averages of three repetitions.
    """

    data: TrainingSet
    test_betas: torch.Tensor

    def informed(self, population: dict[str, VoxelPrior]) -> "World":
        """Return it with what is known of other people's voxels."""
        train = replace(self.data.train, population=population)
        return replace(self, data=replace(self.data, train=train))


@lru_cache(maxsize=2)
def _brain(
    subject: int, seed: int, name: str
) -> tuple[SimulatedSubject, VoxelModel, np.ndarray, np.ndarray]:
    """Return a simulated subject, the models of its labelled voxels, their labels and positions."""
    nsd = simulated_nsd(
        Path("unused"),
        seed=seed,
        volume_scale=sized(0.36, 0.3),
        n_visual_voxels=round(N_VOXELS * WORLDS[name].voxels),
        beta_formats=["hdf5"],
        world=name,
    ).model_copy(update={"sessions": "all"})
    simulated = SimulatedSubject(f"subj{subject:02d}", nsd, Path("unused"))
    _, labels, _ = simulated.label_volumes
    labelled = labels["prf-visualrois"][simulated.visual_mask]
    kept = np.flatnonzero(labelled > 0)
    model = VoxelModel(
        **{name: values[kept] for name, values in vars(simulated.voxel_model("b3")).items()}
    )
    positions = func_to_anat_mm(simulated.cortex)[simulated.visual_mask][kept]
    return simulated, model, labelled[kept], positions


def _responder(
    pool: Pool, subject: int, seed: int, name: str
) -> tuple[SimulatedSubject, np.ndarray, Betas]:
    """Return a simulated subject, the labels of its voxels, and what makes betas of pictures, by
    their rows in the pool, in a session.
    """
    simulated, model, labels, positions = _brain(subject, seed, name)
    world, drives = WORLDS[name], pool.drives
    if world.drive in ("middle layers", "late layers"):
        layers = pool.middle_layers if world.drive == "middle layers" else pool.late_layers
        drives = np.concatenate([drives[:, :-N_DEEP], layers], axis=1)
    signal = noise_free_responses(model, drives, pool.categories, world)
    sources = draw_noise_sources(simulated.cortex, np.random.default_rng([seed, subject, 6]))

    def betas(rows: np.ndarray, session: int) -> np.ndarray:
        own = np.random.default_rng([seed, subject, 7, session])
        gain, offset = (
            float(own.lognormal(0, 0.08)),
            own.normal(0, 0.2, len(labels)).astype(np.float32),
        )
        courses = np.random.default_rng([seed, subject, 8, session])
        noise = session_noise(positions, len(rows), own, sources, courses, world)
        return make_betas(signal[rows], noise, model, gain=gain, offset=offset).astype(np.float32)

    return simulated, labels, betas


def make_world(
    pool: Pool,
    *,
    subject: int,
    seed: int,
    sessions: int,
    trials: int = 0,
    name: str = STANDARD,
    repetitions: int | None = None,
) -> World:
    """Simulate a subject who sees the images of some sessions of NSD's design, without the shared
    ones; or all pictures but the test images, many times.

    Parameters
    ----------
    pool : Pool
    subject : int
        Number from 1 to 8; it sets the noise ceilings.
    seed : int
        Seed of the brain, the noise and the choice of pictures.
    sessions : int
    trials : int
        Of the trials of these sessions only so many count, the first ones; 0: all. Brain, noise,
        pictures and the images set aside are the same for any number.
    name : str
        Key of `WORLDS`; it may have sessions of its own.
    repetitions : int, optional
        Show every picture of the pool but the test images this many times instead.
    """
    simulated, labels, betas = _responder(pool, subject, seed, name)
    sessions = len(WORLDS[name].sessions) or sessions
    rng = np.random.default_rng([seed, subject, 5])
    if repetitions is None:
        shown = [
            simulated.design.experiment.trial_image_ids(subject, session + 1)[:SESSION_TRIALS]
            for session in range(sessions)
        ]
        shared = simulated.design.experiment.shared_image_ids
        shown = [ids[~np.isin(ids, shared)] for ids in shown]
        own = np.unique(np.concatenate(shown))
        pictures = N_TEST + np.resize(rng.permutation(N_POOL - N_TEST), len(own))
        rows = [np.searchsorted(own, ids) for ids in shown]
    else:
        pictures = np.arange(N_TEST, N_POOL)
        order = np.concatenate([rng.permutation(len(pictures)) for _ in range(repetitions)])
        rows = np.split(order, range(SESSION_TRIALS, len(order), SESSION_TRIALS))
    everything = np.concatenate(
        [betas(pictures[of_session], session) for session, of_session in enumerate(rows)]
    )
    test = np.mean(
        [betas(np.arange(N_TEST), 10_000 + repetition) for repetition in range(TEST_REPETITIONS)],
        axis=0,
    )
    return World(
        _training_set(pool, pictures, everything, np.concatenate(rows), labels, rng, trials),
        torch.from_numpy(test),
    )


@dataclass(frozen=True)
class Recorded:
    """What one subject saw and how the voxels responded, trial by trial in time order.

    Attributes
    ----------
    betas : ndarray, shape (n_trials, n_voxels), float32
    pictures : ndarray, shape (n_trials,), int64
        Rows of the pool.
    is_test : ndarray, shape (n_trials,), bool
        Whether the image is one of those that all subjects share.
    session, run : ndarray, shape (n_trials,), int64
    is_left : ndarray, shape (n_voxels,), bool
        Whether a voxel lies in the left hemisphere.
    """

    betas: np.ndarray
    pictures: np.ndarray
    is_test: np.ndarray
    session: np.ndarray
    run: np.ndarray
    is_left: np.ndarray


def record(pool: Pool, *, subject: int, seed: int, sessions: int, name: str = STANDARD) -> Recorded:
    """Simulate the first sessions of a subject, with the shared images."""
    simulated, _, betas = _responder(pool, subject, seed, name)
    positions = _brain(subject, seed, name)[3]
    sessions = len(WORLDS[name].sessions) or sessions
    experiment = simulated.design.experiment
    shown = [
        experiment.trial_image_ids(subject, one + 1)[:SESSION_TRIALS] for one in range(sessions)
    ]
    known, rows = np.unique(np.concatenate(shown), return_inverse=True)
    order = np.random.default_rng([seed, subject, 5]).permutation(N_POOL - N_TEST)
    pictures = (N_TEST + np.resize(order, len(known)))[rows]
    session = np.repeat(np.arange(1, sessions + 1), [len(ids) for ids in shown])
    place = np.concatenate([np.arange(len(ids)) for ids in shown])
    return Recorded(
        np.concatenate([betas(pictures[session == one], one - 1) for one in np.unique(session)]),
        pictures,
        np.isin(np.concatenate(shown), experiment.shared_image_ids),
        session,
        1 + place * RUNS_PER_SESSION // SESSION_TRIALS,
        positions[:, 0] < 0,
    )


def _training_set(
    pool: Pool,
    pictures: np.ndarray,
    betas: np.ndarray,
    trials: np.ndarray,
    labels: np.ndarray,
    rng: np.random.Generator,
    first: int,
) -> TrainingSet:
    """Set a tenth of the images aside, and put the rest into the form that training takes; of the
    trials only the ``first`` ones count, all for 0.

    Raises
    ------
    ValueError
        If there are fewer.
    """
    is_validation = np.zeros(len(pictures), bool)
    is_validation[rng.choice(len(pictures), max(1, len(pictures) // 10), replace=False)] = True
    if first > len(trials):
        raise ValueError(f"{len(trials)} trials, expected {first} at least; name more sessions")
    if first:
        known, trials = np.unique(trials[:first], return_inverse=True)
        betas, pictures, is_validation = betas[:first], pictures[known], is_validation[known]
    averages = np.stack([betas[trials == image].mean(axis=0) for image in range(len(pictures))])
    others = np.setdiff1d(np.arange(N_TEST, N_POOL), pictures)
    used = ~is_validation[trials]
    train, held_out = pictures[~is_validation], pictures[is_validation]
    tensor = torch.from_numpy
    tensors = TrainingTensors(
        betas=tensor(betas[used]),
        trial_images=tensor(np.searchsorted(np.flatnonzero(~is_validation), trials[used])),
        latents=tensor(pool.latents[train]),
        roi_labels=tensor(labels.astype(np.int64)),
        roi_names={int(label): str(label) for label in np.unique(labels)},
        n_repetitions=TEST_REPETITIONS,
        energies=tensor(pool.energies[train]),
        prior_latents=tensor(pool.latents[others]),
        prior_energies=tensor(pool.energies[others]),
    )
    latents = tensor(pool.latents[held_out])
    shown = tensor(np.bincount(trials, minlength=len(pictures))[is_validation])
    validation = ValidationTensors(
        tensor(averages[is_validation]), latents, tensors.latents.mean(0), shown
    )
    return TrainingSet(tensors, validation, pool.pictures[train], pool.pictures[held_out])
