"""Arrays that travel with their ids, checked once when built, stored as HDF5 without pickle.

Betas are kept as NSD stores them, int16 with 300 units a percent, and handed out as float32 percent
signal change with NaN where a voxel had no valid data in a session. Image ids are 0-based 73k ids
throughout.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self

import h5py
import numpy as np

from fmri2img import __version__
from fmri2img.exceptions import FormatError, MismatchError, MissingDataError
from fmri2img.files import replacing
from fmri2img.storage import StoredArray, write_array, writing

# Stored units of one percent signal change (NSD manual, "Functional data").
UNITS_PER_PERCENT = 300.0
# What pictures of encoders that use Stable Diffusion are made from, beside both together.
VARIANTS = ("z_only", "c_only")
_OVER_VOXELS = ["voxel_ijk", "roi_labels", "ncsnr", "training_ncsnr", "in_brain"]


def to_stored_units(betas: np.ndarray) -> np.ndarray:
    """Convert percent to stored units, int16, as MATLAB does: half away from zero, saturating,
    NaN to 0.
    """
    scaled = np.nan_to_num(betas * UNITS_PER_PERCENT)
    rounded = np.trunc(scaled + np.copysign(0.5, scaled))
    return np.clip(rounded, -32_768, 32_767).astype(np.int16)


def to_percent(stored: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Convert stored units to percent signal change.

    Parameters
    ----------
    stored : ndarray, shape (n_trials, n_voxels), int16
    valid : ndarray, shape (n_trials, n_voxels), bool
        Whether the voxel has data in the trial's session.

    Returns
    -------
    ndarray, shape (n_trials, n_voxels), float32
        NaN where there are no data.
    """
    percent = stored / np.float32(UNITS_PER_PERCENT)
    percent[~valid] = np.nan
    return percent


# Axes and units of the arrays in a file, for who opens it without this project.
_MEANINGS: dict[str, tuple[str, str]] = {
    "voxel_ijk": (
        "voxels, (i, j, k)",
        "0-based position in the functional volume, NIfTI order (x from left, y from posterior, z "
        "from inferior)",
    ),
    "roi_labels": ("voxels", "label of the region; names in the attribute provenance, roi_names"),
    "ncsnr": (
        "voxels",
        "signal SD over noise SD as NSD ships it, over all its trials, test images included; NaN: "
        "none",
    ),
    "training_ncsnr": (
        "voxels",
        "signal SD over noise SD on images that are not shared; NaN: not estimated",
    ),
    "in_brain": ("voxels", "whether NSD's liberal brain mask holds the voxel"),
    "sessions": ("sessions", "session number, from 1"),
    "valid": (
        "sessions, voxels",
        "whether the voxel has data in the session; where not, betas are 0",
    ),
    "saturated": ("sessions, voxels", "number of trials at the limit of int16"),
    "affine": ("4, 4", "voxel indices to millimetres, NSD's slab-centred convention"),
    "betas": ("trials, voxels", "1/300 percent signal change"),
    "image_ids": (
        "trials in a voxel file, else images",
        "0-based 73k id: row of NSD's stimulus file",
    ),
    "is_shared": ("as image_ids", "whether the image is one of NSD's 1000 shared ones"),
    "session": ("trials", "session number, from 1"),
    "run": ("trials", "NSD run number, 1 to 12, rest runs not counted"),
    "trial": ("trials", "trial number within the run, from 1"),
    "repetition": ("trials", "how often the image was shown before: 0, 1 or 2"),
    "images": ("images, rows, columns, RGB", "0 to 255"),
    "trial_image_ids": ("trials", "0-based 73k id"),
    "trial_session": ("trials", "session number, from 1"),
    "values": ("images, channels, rows, columns", "latents in the autoencoder's scaled units"),
    "energies": (
        "images, bands, rows, columns",
        "mean amplitude of oriented bands of the luminance in each cell",
    ),
    "scenes": (
        "images, channels, rows, columns",
        "Stable Diffusion's latents of pictures of 320 x 320, in scaled units",
    ),
    "prompts": (
        "images, tokens, features",
        "text embeddings, averaged over the captions of an image",
    ),
    "samples": ("test images, samples, rows, columns, RGB", "0 to 255"),
    "latent_sd": (
        "images, channels, rows, columns",
        "SD that the encoder states for the error of its latents",
    ),
}


@dataclass(frozen=True)
class Stored:
    """Base of all containers: a frozen dataclass of arrays and one ``provenance`` dict, saved as
    HDF5.
    """

    stays_on_disk: ClassVar[tuple[str, ...]] = ()  # arrays that `open` never reads whole

    def save(self, path: Path) -> None:
        """Write the container to ``path`` in one step; the same contents give the same bytes."""
        with replacing(path) as partial, writing(partial) as file:
            file.attrs["container"] = type(self).__name__
            file.attrs["written_by"] = f"fmri2img {__version__}"
            for item in fields(self):
                value = getattr(self, item.name)
                if isinstance(value, dict):
                    file.attrs[item.name] = json.dumps(value, sort_keys=True)
                else:
                    write_array(file, item.name, value)
                    if item.name in _MEANINGS:
                        file[item.name].attrs["axes"], file[item.name].attrs["meaning"] = _MEANINGS[
                            item.name
                        ]

    @classmethod
    def open(cls, path: Path, *, remedy: str, on_disk: Collection[str] = ()) -> Self:
        """Read a container.

        Parameters
        ----------
        path : Path
        remedy : str
            The command that makes the file.
        on_disk : collection of str
            Arrays that stay in the file and are read as they are indexed (`storage.StoredArray`).

        Raises
        ------
        MissingDataError
            If the file is not there.
        FormatError
            If it is not such a container.
        """
        if not path.exists():
            raise MissingDataError(f"{path} not found; run: {remedy}")
        try:
            with h5py.File(path, "r") as file:
                if file.attrs.get("container") != cls.__name__:
                    raise FormatError(
                        f"{path}: expected a {cls.__name__} file, got "
                        f"{file.attrs.get('container')!r}; run: {remedy}"
                    )
                values = {
                    item.name: _read(
                        file, path, item.name, item.name in (*cls.stays_on_disk, *on_disk)
                    )
                    for item in fields(cls)
                }
        except (OSError, KeyError) as error:
            raise FormatError(
                f"{path}: not a readable {cls.__name__} file ({error}); run: {remedy}"
            ) from error
        return cls(**values)

    def _check_lengths(self, **groups: list[str]) -> None:
        for group, names in groups.items():
            lengths = {name: len(getattr(self, name)) for name in names}
            if len(set(lengths.values())) > 1:
                raise MismatchError(
                    f"{type(self).__name__}: arrays over {group} differ in length: {lengths}; make "
                    "the file anew"
                )


def _read(file: h5py.File, path: Path, name: str, stays_on_disk: bool) -> Any:
    if name in file.attrs:
        return json.loads(file.attrs[name])
    stored = file[name]
    return StoredArray(path, name, stored.shape, stored.dtype) if stays_on_disk else stored[()]


@dataclass(frozen=True)
class Voxels(Stored):
    """What is known of each voxel; part of the files of betas and of examples.

    Attributes
    ----------
    voxel_ijk : ndarray, shape (n_voxels, 3), int16
        0-based position in the functional volume.
    roi_labels : ndarray, shape (n_voxels,), int16
    ncsnr : ndarray, shape (n_voxels,), float32
        As NSD ships it, over all its trials, test images included: for description, not for
        selection. NaN for responses from time series, of which NSD ships none.
    training_ncsnr : ndarray, shape (n_voxels,), float32
        Estimated here from the trials of images that are not shared; NaN if it was not asked for.
    in_brain : ndarray, shape (n_voxels,), bool
        Whether NSD's liberal brain mask holds the voxel.
    sessions : ndarray, shape (n_sessions,), int16
        Session numbers, from 1.
    valid : ndarray, shape (n_sessions, n_voxels), bool
        Whether the voxel has data in the session.
    saturated : ndarray, shape (n_sessions, n_voxels), int16
        Trials whose beta is at the limit of int16 (109.2 %).
    affine : ndarray, shape (4, 4)
    provenance : dict
        ``subject``, ``data_source``, ``region`` (ROI, where it was drawn, mapping, MD5 of the label
        volume), ``roi_names`` (label to name), ``func_space``, ``beta_version``, ``responses``
        (betas or timeseries), ``voxel_mm``, ``grid``, ``selection``, ``code_version`` and
        ``receipts`` (MD5 of each receipt, as in ``dvc.lock``, and one SHA-256 over its records).
    """

    voxel_ijk: np.ndarray
    roi_labels: np.ndarray
    ncsnr: np.ndarray
    training_ncsnr: np.ndarray
    in_brain: np.ndarray
    sessions: np.ndarray
    valid: np.ndarray
    saturated: np.ndarray
    affine: np.ndarray
    provenance: dict

    @property
    def n_voxels(self) -> int:
        """Number of voxels."""
        return len(self.roi_labels)

    @property
    def roi_names(self) -> list[str]:
        """Name of each voxel's region, shape (n_voxels,)."""
        return [self.provenance["roi_names"][str(label)] for label in self.roi_labels]


@dataclass(frozen=True)
class TrialBetas(Voxels):
    """Betas of one subject, trial by trial in time order; holds all that is ever needed from the
    raw files but pictures.

    Attributes
    ----------
    betas : ndarray, shape (n_trials, n_voxels), int16
        300 units a percent signal change.
    image_ids : ndarray, shape (n_trials,), int64
    is_shared : ndarray, shape (n_trials,), bool
        Whether the image is one of NSD's 1000 shared ones.
    session, run, trial : ndarray, shape (n_trials,), int16
        NSD's counts, from 1.
    repetition : ndarray, shape (n_trials,), int8
        0, 1 or 2, counted over the sessions that were read.
    """

    betas: np.ndarray
    image_ids: np.ndarray
    is_shared: np.ndarray
    session: np.ndarray
    run: np.ndarray
    trial: np.ndarray
    repetition: np.ndarray

    def __post_init__(self) -> None:
        self._check_lengths(
            trials=["betas", "image_ids", "is_shared", "session", "run", "trial", "repetition"],
            voxels=_OVER_VOXELS,
            sessions=["sessions", "valid", "saturated"],
        )


@dataclass(frozen=True)
class Examples(Voxels):
    """Pictures and the trials in which they were seen.

    Attributes
    ----------
    image_ids : ndarray, shape (n_images,), int64
        Ascending.
    images : ndarray, shape (n_images, side, side, 3), uint8
    is_shared : ndarray, shape (n_images,), bool
    betas : ndarray, shape (n_trials, n_voxels), int16
        300 units a percent; sorted by image, then by time.
    trial_image_ids : ndarray, shape (n_trials,), int64
        Ascending.
    trial_session : ndarray, shape (n_trials,), int16
    """

    image_ids: np.ndarray
    images: np.ndarray
    is_shared: np.ndarray
    betas: np.ndarray
    trial_image_ids: np.ndarray
    trial_session: np.ndarray

    def __post_init__(self) -> None:
        self._check_lengths(
            images=["image_ids", "images", "is_shared"],
            trials=["betas", "trial_image_ids", "trial_session"],
            voxels=_OVER_VOXELS,
        )

    def rows_of(self, image_ids: np.ndarray) -> np.ndarray:
        """Return the position of each image, shape (n,).

        Raises
        ------
        MismatchError
            If an image is not among the examples.
        """
        return find_rows(self.image_ids, image_ids, "examples")

    def trials_of(self, image_ids: np.ndarray) -> np.ndarray:
        """Return the rows of all trials that showed one of the images, ascending."""
        return np.flatnonzero(np.isin(self.trial_image_ids, image_ids))

    def repetitions_of(self, image_ids: np.ndarray) -> np.ndarray:
        """Return how many trials showed each image, shape (n,), int64."""
        first, last = (
            np.searchsorted(self.trial_image_ids, image_ids, side=side)
            for side in ("left", "right")
        )
        return last - first

    def percent(self, trials: np.ndarray) -> np.ndarray:
        """Return betas of some trials in percent signal change, NaN where invalid, shape (n,
        n_voxels), float32.
        """
        session_rows = np.searchsorted(self.sessions, self.trial_session[trials])
        return to_percent(self.betas[trials], self.valid[session_rows])


@dataclass(frozen=True)
class Latents(Stored):
    """Latents of images in the autoencoder's scaled units.

    Attributes
    ----------
    image_ids : ndarray, shape (n_images,), int64
        Ascending.
    values : ndarray, shape (n_images, 4, 16, 16), float32
    energies : ndarray, shape (n_images, 12, 8, 8), float32
        Local contrast energies of the same pictures (`features.energies`).
    provenance : dict
        ``data_source`` and the autoencoder's identity: name, revision, sha256, scaling factor.
    """

    image_ids: np.ndarray
    values: np.ndarray
    energies: np.ndarray
    provenance: dict

    def __post_init__(self) -> None:
        self._check_lengths(images=["image_ids", "values", "energies"])

    def only(self, image_ids: np.ndarray) -> "Latents":
        """Return the latents of some images, in a container of their own.

        Raises
        ------
        MismatchError
            If an image has no latent.
        """
        rows = find_rows(self.image_ids, image_ids, "latents")
        return Latents(image_ids, self.values[rows], self.energies[rows], self.provenance)

    def of(self, image_ids: np.ndarray) -> np.ndarray:
        """Return the latents of some images, shape (n, 4, 16, 16).

        Raises
        ------
        MismatchError
            If an image has no latent.
        """
        return self.values[find_rows(self.image_ids, image_ids, "latents")]


@dataclass(frozen=True)
class DiffusionTargets(Stored):
    """What Stable Diffusion makes of pictures and captions; without rows for a model that learns
    from latents alone.

    Attributes
    ----------
    image_ids : ndarray, shape (n_images,), int64
        Ascending.
    scenes : ndarray, shape (n_images, 4, 40, 40), float16
        Latents of the pictures at 320 x 320, in scaled units: "z".
    prompts : ndarray, shape (n_images, 77, 768), float16
        Text embeddings, averaged over an image's captions: "c".
    empty_prompt : ndarray, shape (77, 768), float16
        Embedding of the empty text.
    provenance : dict
        ``data_source``; ``scenes`` and ``prompts``: hashes of what each was made with and from;
        ``about``: Stable Diffusion's identity, as configs of encoders record it; ``n_captions``,
        ``n_truncated``.
    """

    image_ids: np.ndarray
    scenes: np.ndarray
    prompts: np.ndarray
    empty_prompt: np.ndarray
    provenance: dict

    def __post_init__(self) -> None:
        self._check_lengths(images=["image_ids", "scenes", "prompts"])

    @classmethod
    def nothing(cls) -> Self:
        """Return targets of no image."""
        half = np.dtype(np.float16)
        return cls(
            np.zeros(0, np.int64),
            np.zeros((0, 4, 40, 40), half),
            np.zeros((0, 77, 768), half),
            np.zeros((77, 768), half),
            {},
        )

    def rows_of(self, image_ids: np.ndarray) -> np.ndarray:
        """Return the position of each image, shape (n,).

        Raises
        ------
        MismatchError
            If an image has no targets.
        """
        return find_rows(self.image_ids, image_ids, "targets")


@dataclass(frozen=True)
class TruePictures(Stored):
    """Test images as NSD stores them: what reconstructions are compared with.

    Attributes
    ----------
    image_ids : ndarray, shape (n,), int64
        Ascending.
    images : ndarray, shape (n, 425, 425, 3), uint8
    provenance : dict
        ``data_source`` and the MD5 of the receipt.
    """

    image_ids: np.ndarray
    images: np.ndarray
    provenance: dict

    def __post_init__(self) -> None:
        self._check_lengths(images=["image_ids", "images"])

    def of(self, image_ids: np.ndarray) -> np.ndarray:
        """Return some pictures, shape (n, 425, 425, 3).

        Raises
        ------
        MismatchError
            If one is not there.
        """
        return self.images[find_rows(self.image_ids, image_ids, "true pictures")]


@dataclass(frozen=True)
class Reconstructions(Stored):
    """What an encoder makes of averaged betas, beside what the autoencoder alone would give.

    Attributes
    ----------
    image_ids : ndarray, shape (n,), int64
        Ascending within each split.
    split : ndarray, shape (n,), bytes
        ``test`` or ``train``.
    latents : ndarray, shape (n, 4, 16, 16), float32
        Predicted, in scaled units.
    latent_sd : ndarray, shape (n, 4, 16, 16), float32
        How far off the encoder says it is, as an SD.
    images : ndarray, shape (n, side, side, 3), uint8
        Decoded from ``latents``.
    ceiling : ndarray, shape (n, side, side, 3), uint8
        Decoded from the true latents.
    mean_latent : ndarray, shape (4, 16, 16), float32
        Mean over training images.
    mean_decoded : ndarray, shape (side, side, 3), uint8
        Decoded from ``mean_latent``.
    partial_image_ids : ndarray, shape (m,), int64
        Test images that were shown more than once, several times each.
    partial_first, partial_count : ndarray, shape (m,), int8
        Which repetition was the first of how many that were averaged: the first alone, the second
        alone, the first two.
    partial_latents : ndarray, shape (m, 4, 16, 16), float32
        Predicted from those repetitions only.
    partial_images : ndarray, shape (m, side, side, 3), uint8
    partial_seen : ndarray, shape (m, 4, 16, 16), float32
        Latents that the autoencoder finds in ``partial_images``.
    mean_seen : ndarray, shape (4, 16, 16), float32
        And in ``mean_decoded``.
    seed_latents : ndarray, shape (n_seeds, n_test, 4, 16, 16), float32
        Of the test images, from encoders trained in the same way with other seeds; ``n_seeds`` is 0
        where a seed changes nothing.
    seed_images : ndarray, shape (n_seeds, n_test, side, side, 3), uint8
    samples : ndarray, shape (n_test or 0, n_samples, 512, 512, 3), uint8
        Of the test images, from Stable Diffusion, for encoders that use it: the first is the one in
        ``images``, there made smaller.
    scenes : ndarray, shape (n_test or 0, 4, 40, 40), float16
        Decoded z of the test images, for the same encoders.
    prompts : ndarray, shape (n_test or 0, 77, 768), float16
        Decoded c.
    variant_images : ndarray, shape (2, n_test, side, side, 3), uint8
        Pictures from z alone and from c alone (`VARIANTS`); the first axis has no entries for other
        encoders.
    variant_latents : ndarray, shape (2, n_test, 4, 16, 16), float32
        Latents that the autoencoder finds in them.
    provenance : dict
    """

    stays_on_disk = ("samples",)  # gigabytes

    image_ids: np.ndarray
    split: np.ndarray
    latents: np.ndarray
    latent_sd: np.ndarray
    images: np.ndarray
    ceiling: np.ndarray
    mean_latent: np.ndarray
    mean_decoded: np.ndarray
    partial_image_ids: np.ndarray
    partial_first: np.ndarray
    partial_count: np.ndarray
    partial_latents: np.ndarray
    partial_images: np.ndarray
    partial_seen: np.ndarray
    mean_seen: np.ndarray
    seed_latents: np.ndarray
    seed_images: np.ndarray
    samples: np.ndarray
    scenes: np.ndarray
    prompts: np.ndarray
    variant_images: np.ndarray
    variant_latents: np.ndarray
    provenance: dict

    def __post_init__(self) -> None:
        self._check_lengths(
            images=["image_ids", "split", "latents", "latent_sd", "images", "ceiling"],
            partial=[
                "partial_image_ids",
                "partial_first",
                "partial_count",
                "partial_latents",
                "partial_images",
                "partial_seen",
            ],
            seeds=["seed_latents", "seed_images"],
            diffusion=["samples", "scenes", "prompts"],
            variants=["variant_images", "variant_latents"],
        )

    def rows(self, split: str) -> np.ndarray:
        """Return the rows of one split."""
        return np.flatnonzero(self.split == split.encode())


def without_diffusion(
    n_test: int, picture_shape: tuple[int, ...], latent_shape: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Return the parts of `Reconstructions` that only encoders have which steer Stable
    Diffusion, without entries.
    """
    return {
        "samples": np.zeros((0, 0, 512, 512, 3), np.uint8),
        "scenes": np.zeros((0, 4, 40, 40), np.float16),
        "prompts": np.zeros((0, 77, 768), np.float16),
        "variant_images": np.zeros((0, n_test, *picture_shape), np.uint8),
        "variant_latents": np.zeros((0, n_test, *latent_shape), np.float32),
    }


@dataclass(frozen=True)
class EncodingModel(Stored):
    """A linear map from latents to z-scored responses, fitted on training images.

    Attributes
    ----------
    weights : ndarray, shape (d, n_voxels), float32
    latent_mean : ndarray, shape (d,), float32
    response_mean : ndarray, shape (n_voxels,), float32
    provenance : dict
    """

    weights: np.ndarray
    latent_mean: np.ndarray
    response_mean: np.ndarray
    provenance: dict

    def predict(self, latents: np.ndarray) -> np.ndarray:
        """Predict responses to pictures from their latents, shape (n, d); returns (n, n_voxels),
        SDs of training trials.
        """
        predicted: np.ndarray = (latents - self.latent_mean) @ self.weights + self.response_mean
        return predicted


def find_rows(sorted_ids: np.ndarray, wanted: np.ndarray, where: str) -> np.ndarray:
    """Return the position of each wanted id among ascending ids.

    Raises
    ------
    MismatchError
        If one is absent.
    """
    rows = np.searchsorted(sorted_ids, wanted).clip(max=max(len(sorted_ids) - 1, 0))
    absent = sorted_ids[rows] != wanted if len(sorted_ids) else np.ones(len(wanted), bool)
    if absent.any():
        raise MismatchError(
            f"image id {np.asarray(wanted)[absent][0]} (0-based) is not among the {where}; rebuild "
            "both with: dvc repro"
        )
    return rows
