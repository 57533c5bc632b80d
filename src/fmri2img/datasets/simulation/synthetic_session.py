"""A simulated NSD-synthetic: one more session, with gratings, noise and altered scenes in the form
of NSD's files (`datasets.nsd.synthetic`).

Pictures are of few pixels, enlarged: they are there to test readers and encoders, not as research.
"""

from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from fmri2img.containers.storage import writing
from fmri2img.datasets.marks import MARK
from fmri2img.datasets.nsd.design import TR_SECONDS
from fmri2img.datasets.nsd.paths import (
    SYNTHETIC_DESIGN,
    SYNTHETIC_STIMULI,
    on_disk,
    synthetic_colours,
)
from fmri2img.datasets.nsd.synthetic import (
    FRAME,
    N_IMAGES,
    N_SHARED,
    N_TRIALS,
    REPETITIONS,
    as_in_main_experiment,
)
from fmri2img.datasets.nsd.volumes import write_volume
from fmri2img.datasets.simulation import raw_formats as writers
from fmri2img.datasets.simulation.scenes import describe_scene, paint_scene
from fmri2img.datasets.simulation.simulated_brain import SimulatedBrain
from fmri2img.project.files import replacing, write_bytes

_NOISE_SESSION = 41  # draws other noise than any session of the main experiment
_FIRST_SCENE = 73_000  # no image of the main experiment
# A run of 428 s has 107 slots of 4 s; where the blank ones lie is not published.
_N_RUNS, _N_SLOTS, _FIRST_SLOT = 8, 107, 4
_PIXELS = 119  # of a side, each enlarged to 6
_GREY = 127
_CONTRASTS = (1.0, 0.5, 0.1, 0.06, 0.04)
_N_SCENES, _N_NOISE = 60, 40


def write_synthetic(subject: SimulatedBrain) -> list[PurePosixPath]:
    """Write a subject's files of NSD-synthetic; return their paths relative to the root."""
    root, files, seed = subject.root, subject.files, subject.simulation.seed
    order = draw_order(seed)
    colours = synthetic_colours(subject.subject)
    write_bytes(
        on_disk(root, SYNTHETIC_DESIGN),
        writers.matlab_file(
            {"masterordering": (order[None] + 1).astype(np.uint16), "stimpattern": _slots()[None]}
        ),
    )
    _write_stimuli(root, SYNTHETIC_STIMULI, partial(_shared_pictures, seed), N_SHARED)
    pictures = partial(_coloured, seed, subject.number)
    _write_stimuli(root, colours, pictures, N_IMAGES - N_SHARED)
    voxel_mm = subject.cortex.func_voxel_mm
    write_volume(
        on_disk(root, files.synthetic_valid()),
        subject.brain_mask.astype(np.int16),
        voxel_mm,
        description=MARK,
    )
    written = [SYNTHETIC_DESIGN, SYNTHETIC_STIMULI, colours, files.synthetic_valid()]
    for version in subject.simulation.beta_versions:
        signal = subject.signal_of(version, lambda: _as_shown(seed, subject.number))
        slabs = subject.slabs(
            version, _NOISE_SESSION, signal[order], subject.voxel_model(version), subject.brain_mask
        )
        hdf5, nifti = (files.synthetic_betas(version, ending) for ending in ("hdf5", "nii.gz"))
        shape = subject.cortex.func_shape
        writers.write_betas_hdf5(on_disk(root, hdf5), shape, slabs, N_TRIALS)
        formats = subject.simulation.beta_formats
        if "nii.gz" in formats:
            tr = TR_SECONDS[subject.nsd.func_space]
            writers.write_betas_nifti(on_disk(root, nifti), on_disk(root, hdf5), voxel_mm, tr)
            written.append(nifti)
        if "hdf5" in formats:
            written.append(hdf5)
        else:
            on_disk(root, hdf5).unlink()
    return written


def draw_order(seed: int) -> np.ndarray:
    """Draw the picture of each trial, counted from 0, the same for all subjects, shape (744,)."""
    rng = np.random.default_rng([seed, N_TRIALS])
    times = np.repeat(list(REPETITIONS), list(REPETITIONS.values()))
    return rng.permutation(np.repeat(rng.permutation(N_IMAGES), times))


def _slots() -> np.ndarray:
    """Return which slots of each run show a picture, shape (8, 107), uint8: 93 of them."""
    slots = np.zeros((_N_RUNS, _N_SLOTS), np.uint8)
    slots[:, _FIRST_SLOT : _FIRST_SLOT + N_TRIALS // _N_RUNS] = 1
    return slots


def _write_stimuli(root: Path, path: PurePosixPath, pictures: partial, n_pictures: int) -> None:
    with replacing(on_disk(root, path)) as temporary, writing(temporary) as file:
        file.attrs["source"] = MARK
        brick = file.create_dataset(
            writers.BRICK,
            (n_pictures, *FRAME),
            np.uint8,
            chunks=(1, *FRAME),
            compression="gzip",
            compression_opts=1,
        )
        for row, picture in enumerate(pictures()):
            brick[row] = picture


def _as_shown(seed: int, subject_number: int) -> Iterator[np.ndarray]:
    """Yield all pictures in the form of the main experiment, shape (425, 425, 3), uint8."""
    for pictures in (_shared_pictures(seed), _coloured(seed, subject_number)):
        yield from map(as_in_main_experiment, pictures)


def _shared_pictures(seed: int) -> Iterator[np.ndarray]:
    """Yield the pictures that all subjects see, as the file stores them."""
    yield from map(_framed, islice(_grey_squares(seed), N_SHARED))


def _grey_squares(seed: int) -> Iterator[np.ndarray]:
    """Yield grey squares, shape (119, 119), of -1 to 1: scenes that fade, noise, gratings."""
    for number in range(_N_SCENES):
        scene = paint_scene(describe_scene(seed, _FIRST_SCENE + number // len(_CONTRASTS)), 425)
        grey = Image.fromarray(scene).convert("L").resize((_PIXELS,) * 2, Image.Resampling.BOX)
        contrast = _CONTRASTS[number % len(_CONTRASTS)]
        yield contrast * (np.asarray(grey, np.float32) / 127.5 - 1)
    rng = np.random.default_rng([seed, N_IMAGES])
    for number in range(_N_NOISE):
        yield _noise(rng, exponent=number % 2)
    down, across = np.meshgrid(*[np.arange(_PIXELS) / _PIXELS - 0.5] * 2, indexing="ij")
    while True:
        angle, cycles, phase = rng.uniform(0, np.pi), 2 ** rng.uniform(1, 5), rng.uniform(0, 6.28)
        along = across * np.cos(angle) + down * np.sin(angle)
        yield np.sin(2 * np.pi * cycles * along + phase)


def _coloured(seed: int, subject_number: int) -> Iterator[np.ndarray]:
    """Yield a subject's own coloured pictures, as the file stores them: four patterns of pink noise
    in sixteen hues.
    """
    rng = np.random.default_rng([seed, N_IMAGES, subject_number])
    patterns = [_noise(rng, exponent=1) for _ in range(4)]
    for number in range(N_IMAGES - N_SHARED):
        angle = 2 * np.pi * (number // 4) / 16
        tint = np.array([np.cos(angle - turn) for turn in (0, 2.094, 4.189)])
        yield _framed(0.5 * patterns[number % 4][..., None] * tint)


def _noise(rng: np.random.Generator, *, exponent: int) -> np.ndarray:
    """Return noise whose amplitude falls with frequency to some power, shape (119, 119), values of
    -1 to 1.
    """
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(_PIXELS), np.fft.fftfreq(_PIXELS)))
    frequency[0, 0] = np.inf
    white = np.fft.fft2(rng.standard_normal((_PIXELS, _PIXELS)))
    noise = np.fft.ifft2(white / frequency**exponent).real
    clipped: np.ndarray = np.clip(noise / (3 * noise.std()), -1, 1)
    return clipped


def _framed(square: np.ndarray) -> np.ndarray:
    """Enlarge a square of values from -1 to 1, grey or coloured, and put it on a grey frame, shape
    (714, 1360, 3), uint8, as the file stores it: proportional to the light.
    """
    coloured = square if square.ndim == 3 else np.repeat(square[..., None], 3, axis=2)
    factor, first = FRAME[0] // _PIXELS, (FRAME[1] - FRAME[0]) // 2
    picture = np.full(FRAME, _light(np.zeros(())), np.uint8)
    picture[:, first : first + FRAME[0]] = _light(coloured).repeat(factor, 0).repeat(factor, 1)
    return picture


def _light(values: np.ndarray) -> np.ndarray:
    """Return what the file stores for values from -1 to 1, uint8."""
    stored: np.ndarray = (np.clip(_GREY + 127 * values, 0, 255) / 255) ** 2 * 255
    return stored.round().astype(np.uint8)
