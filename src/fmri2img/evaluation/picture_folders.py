"""Score reconstructions of any origin against any truth: two folders of pictures or HDF5 files,
joined by id.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fmri2img.containers.storage import read_arrays
from fmri2img.evaluation.documents import package_versions
from fmri2img.evaluation.identification import two_way_table
from fmri2img.evaluation.inference import bootstrap_intervals, permutation_p
from fmri2img.evaluation.metrics.picture_metrics import PAIRED_SIDE, PIXCORR, constant_pictures
from fmri2img.evaluation.predictions import Predictions, ShownPictures, derangement
from fmri2img.evaluation.presets import HEADLINE, PRESETS
from fmri2img.evaluation.read_outs import Networks
from fmri2img.evaluation.score import score_rows
from fmri2img.evaluation.scores import RowScores
from fmri2img.evaluation.table_rows import MODEL, SHUFFLED
from fmri2img.project.exceptions import FormatError, MismatchError, MissingDataError
from fmri2img.project.files import check_file

_ENDINGS = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
_GREY, _PIXEL_TWO_WAY = "grey", "pixel_two_way"


@dataclass(frozen=True)
class Pictures:
    """Square pictures with their ids.

    Attributes
    ----------
    ids : tuple of str
        Numeric ids have no leading zeros.
    images : ndarray, shape (n, side, side, 3), uint8
    """

    ids: tuple[str, ...]
    images: np.ndarray


def read_pictures(path: Path) -> Pictures:
    """Read a folder of pictures named by id, or an HDF5 file with ``image_ids`` and ``images``.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Pictures
        With their ids as texts.

    Raises
    ------
    MissingDataError
        If there is nothing at ``path``.
    FormatError
        If ids repeat, sizes differ or pictures are not square, values are not finite, or a file is
        not a picture.
    """
    if not path.exists():
        raise MissingDataError(
            f"{path} not found; name a folder of pictures, or an HDF5 file with image_ids and "
            "images"
        )
    ids, images = _read_folder(path) if path.is_dir() else _read_file(path)
    if repeated := [
        name for name, count in zip(*np.unique(ids, return_counts=True), strict=True) if count > 1
    ]:
        raise FormatError(
            f"{path}: id {repeated[0]} occurs more than once ({len(repeated)} such ids); keep "
            "one picture per id"
        )
    if (
        images.ndim != 4
        or images.shape[1] != images.shape[2]
        or images.shape[3] != 3
        or images.shape[1] < 16
    ):
        raise FormatError(
            f"{path}: got pictures of shape {images.shape[1:]}, expected (side, side, 3), side >= "
            "16; resize or crop them"
        )
    return Pictures(tuple(ids), images)


def _read_folder(path: Path) -> tuple[list[str], np.ndarray]:
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in _ENDINGS)
    if not files:
        raise MissingDataError(
            f"{path} holds no pictures ({', '.join(sorted(_ENDINGS))}); name the folder that does"
        )
    images = []
    for file in files:
        check_file(file, f"rm {file}")
        try:
            with Image.open(file) as picture:
                images.append(np.asarray(picture.convert("RGB")))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise FormatError(
                f"{file}: not a readable picture ({error}); replace or remove it"
            ) from error
        if images[-1].shape != images[0].shape:
            raise FormatError(
                f"{file}: got {images[-1].shape[:2]} pixels, {files[0].name} has "
                f"{images[0].shape[:2]}; bring all pictures to one size"
            )
    return [_plain(file.stem) for file in files], np.stack(images)


def _read_file(path: Path) -> tuple[list[str], np.ndarray]:
    check_file(path, "name a folder of pictures, or an HDF5 file")
    ids, images = read_arrays(path, ("image_ids", "images"))
    if ids.ndim != 1 or images.ndim != 4 or images.shape[3] != 3 or not images.size:
        raise FormatError(
            f"{path}: got image_ids of shape {ids.shape} and images of shape {images.shape}, "
            "expected (n) and (n, height, width, 3) with n of 1 or more; write the file again"
        )
    if ids.dtype.kind not in "iuSOU":
        raise FormatError(
            f"{path}: image_ids of {ids.dtype}, expected whole numbers or texts; write them again"
        )
    if images.dtype.kind not in "uif":
        raise FormatError(
            f"{path}: images of {images.dtype}, expected uint8, or 0 to 1; rescale them"
        )
    if len(ids) != len(images):
        raise FormatError(
            f"{path}: got {len(ids)} image_ids and {len(images)} images, expected equal "
            "numbers; write the file again"
        )
    if images.dtype != np.uint8:
        if not np.isfinite(images).all():
            bad = int((~np.isfinite(images)).reshape(len(images), -1).any(axis=1).sum())
            raise FormatError(
                f"{path}: {bad} of {len(images)} pictures hold NaN or infinite values, expected 0 "
                "to 1; correct them"
            )
        if images.min() < 0 or images.max() > 1:
            raise FormatError(
                f"{path}: got values from {images.min():.3g} to {images.max():.3g}, expected "
                "uint8, or 0 to 1; rescale them"
            )
        images = np.rint(images * 255).astype(np.uint8)
    try:
        names = [name.decode() if isinstance(name, bytes) else str(name) for name in ids]
    except UnicodeDecodeError as error:
        raise FormatError(
            f"{path}: image_ids: {error.object!r} is no text in UTF-8; write them again"
        ) from error
    return [_plain(name) for name in names], images


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()


def _plain(name: str) -> str:
    return str(int(name)) if _is_number(name) else name


def _numbers_first(name: str) -> tuple[int, int, str]:
    return (0, int(name), "") if _is_number(name) else (1, 0, name)


def join(
    truth: Pictures, predicted: Pictures, *, subset: bool
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Pair pictures by id.

    Parameters
    ----------
    truth, predicted : Pictures
    subset : bool
        Whether to leave out pictures without a partner; otherwise they are an error.

    Returns
    -------
    ids : list of str
        Numeric ids in ascending order, then names.
    truth, predicted : ndarray, shape (n, side, side, 3), uint8

    Raises
    ------
    MismatchError
        If a picture has no partner, or fewer than two pairs are left.
    """
    where = [{name: row for row, name in enumerate(side.ids)} for side in (truth, predicted)]
    unknown = [name for name in predicted.ids if name not in where[0]]
    if unknown and (not subset or len(unknown) == len(predicted.ids)):
        raise MismatchError(
            f"{len(unknown)} of {len(predicted.ids)} reconstructions have no truth, first id "
            f"{unknown[0]}; ids are file names, or image_ids; leave such reconstructions out with "
            "--subset if others have one"
        )
    missing = [name for name in truth.ids if name not in where[1]]
    if missing and not subset:
        raise MismatchError(
            f"{len(missing)} of {len(truth.ids)} images have no reconstruction, first id "
            f"{missing[0]}; "
            "add them, or leave them out with --subset"
        )
    ids = sorted((name for name in predicted.ids if name in where[0]), key=_numbers_first)
    if len(ids) < 2:
        raise MismatchError(
            f"got {len(ids)} pairs of pictures, expected at least 2, since identification needs "
            "others to compare with; add pictures of the same ids to both"
        )
    shown, reconstructed = (
        side.images[[rows[name] for name in ids]]
        for side, rows in zip((truth, predicted), where, strict=True)
    )
    return ids, shown, reconstructed


def evaluate_pictures(
    ids: list[str],
    truth: np.ndarray,
    predicted: np.ndarray,
    networks: Networks,
    *,
    n_bootstrap: int = 10_000,
    n_permutations: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Score pictures against their truth, with a grey picture and shuffled pictures as floors.

    Parameters
    ----------
    ids : list of str
        One for each pair of pictures.
    truth, predicted : ndarray, shape (n, side, side, 3), uint8
        Pictures; the two sides may differ in size.
    networks : Networks
        Networks in whose features the pictures are also compared.
    n_bootstrap, n_permutations : int
        Resamples behind each interval, and pairings behind each p.
    seed : int
        Of both.

    Returns
    -------
    dict
        ``scores``, ``floor_grey``, ``floor_shuffled``: metric to mean; ``interval``; ``p``;
        ``images``: metric to the score of each id; ``about``. Names without a preset belong
        to the headline preset (`presets.PRESETS`).
    """
    rng = np.random.default_rng(seed)
    order = derangement(len(ids), rng)
    rows = Predictions(
        {
            MODEL: predicted,
            _GREY: np.full((1, *predicted.shape[1:]), 128, np.uint8),
            SHUFFLED: predicted[order],
        },
        latents={},
        shuffles={SHUFFLED: (MODEL, order)},
        tested=(MODEL,),
    )
    scored = score_rows(ShownPictures(truth, truth), rows, networks)
    pairs = two_way_table(scored.tables[MODEL][PIXCORR.name])
    scores = scored.per_image[MODEL] | {_PIXEL_TWO_WAY: np.diag(pairs)}
    ends = bootstrap_intervals(np.stack(list(scores.values())), n_bootstrap, rng)
    tables = scored.tables[MODEL] | {_PIXEL_TWO_WAY: pairs}
    p_values = permutation_p(tables, n_permutations, rng)
    floors = {f"floor_{row}": _rounded_means(scored.per_image[row]) for row in (_GREY, SHUFFLED)}
    return {
        "scores": _rounded_means(scores),
        **floors,
        "interval": {
            metric: [round(float(end), 6) for end in pair]
            for metric, pair in zip(scores, ends, strict=True)
        },
        "p": {metric: round(value, 6) for metric, value in p_values.items()},
        "images": {
            metric: dict(zip(ids, values.round(6).tolist(), strict=True))
            for metric, values in scores.items()
        },
        "about": _about(ids, truth, predicted, scored)
        | {"seed": seed, "n_bootstrap": n_bootstrap, "n_permutations": n_permutations},
    }


def _rounded_means(scores: dict[str, np.ndarray]) -> dict[str, float]:
    return {metric: round(float(values.mean()), 6) for metric, values in scores.items()}


def _about(
    ids: list[str], truth: np.ndarray, predicted: np.ndarray, scored: RowScores
) -> dict[str, Any]:
    """Return what the scores depend on."""
    return {
        "n_images": len(ids),
        "constant_reconstructions": constant_pictures(predicted),
        "ids_sha256": hashlib.sha256(",".join(ids).encode()).hexdigest(),
        "preset": HEADLINE,
        "presets_beside": [preset for preset in PRESETS if preset != HEADLINE],
        "antialias": PRESETS[HEADLINE].antialias,
        "two_way_fixed": "prediction",
        "reconstructions_per_image": 1,
        "weights": scored.weights,
        "absent": scored.absent,
        "truth_pixels": list(truth.shape[1:3]),
        "reconstruction_pixels": list(predicted.shape[1:3]),
        "pixel_two_way": f"PixCorr at {PAIRED_SIDE} x {PAIRED_SIDE}, fixed prediction, chance 0.5",
        "intervals": "95 % over images, BCa bootstrap",
        "p_of": f"random pairings; PixCorr at {PAIRED_SIDE} x {PAIRED_SIDE}, SSIM at 64 x 64",
        "versions": package_versions(),
    }
