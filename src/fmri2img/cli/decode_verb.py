"""The verb of ``fmri2img`` that makes pictures from betas."""

import argparse
import json
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np

from fmri2img.cli import ADDRESS
from fmri2img.containers.ids import id_name
from fmri2img.containers.splits import Split
from fmri2img.containers.storage import NOT_AN_ARRAY
from fmri2img.project.exceptions import ConfigError, FormatError, MismatchError, MissingDataError
from fmri2img.project.files import check_file
from fmri2img.project.plain_names import is_plain_name
from fmri2img.project.progress import progress
from fmri2img.sharing.export import NAMES_IN_NPZ

_HDF5, _PICKLE = b"\x89HDF\r\n\x1a\n", b"\x80"


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Add the verb to the command."""
    verb = verbs.add_parser("decode", help="reconstruct pictures from betas with a trained encoder")
    verb.add_argument(
        "betas",
        type=Path,
        help="voxel file, .npz of fmri2img export, or .npy of shape (n, n_voxels), in the unit of "
        "the training's betas",
    )
    verb.add_argument("--model", required=True, help=f"{ADDRESS}; or an encoder's folder")
    verb.add_argument("--to", type=Path, required=True, help="folder for the pictures")
    verb.add_argument(
        "--repetitions", type=int, help="trials that each row averages; needed with .npy"
    )
    verb.add_argument(
        "--test-images-of",
        type=Path,
        metavar="SPLIT",
        help="only the test images of a split, such as data/splits/subj01.json",
    )
    verb.add_argument(
        "--autoencoder",
        default="",
        help="folder or hub id of the autoencoder (of Stable Diffusion for takagi), if it has "
        "moved",
    )
    verb.set_defaults(run=decode_betas)


def decode_betas(options: argparse.Namespace) -> None:
    """Write one picture per row of a ``.npy``, or per image id of other files."""
    from fmri2img.generation.renderers.renderer import NewBetas, renderer_of
    from fmri2img.models.registry import load_encoder

    names, betas, repetitions = read_betas(
        options.betas, options.repetitions, options.test_images_of
    )
    with tempfile.TemporaryDirectory() as temporary:
        encoder, config = load_encoder(_encoder_folder(options.model, Path(temporary)))
    about = config["about"]
    if absent := sorted({"subject", "roi", "data.source"} - set(about)):
        raise FormatError(
            f"{options.model}: config.json: about: {absent[0]} is missing; take an encoder that "
            "fmri2img trained"
        )
    owner = owner_of(options.betas)
    if owner not in ("", about["subject"]):
        raise MismatchError(
            f"{options.betas}: voxels of {owner}, expected those of {about['subject']}, whose "
            f"encoder {options.model} is; take this subject's encoder, or adapt one: fmri2img adapt"
        )
    if betas.shape[1] != encoder.n_voxels:
        raise MismatchError(
            f"{options.betas}: {betas.shape[1]} voxels, expected the {encoder.n_voxels} of "
            f"{about['subject']}, {about['roi']}, in the "
            "order of their voxel file; export it with the same region"
        )
    new = NewBetas(
        names=names,
        betas=betas,
        repetitions=repetitions,
        about=about,
        source=options.autoencoder,
        folder=options.to,
        progress=progress,
    )
    renderer_of(type(encoder)).render_new(encoder, new)
    print(f"{len(names)} pictures in {options.to}")
    if about["data.source"] == "simulated":
        print("SIMULATED DATA: the encoder was trained on a simulated brain", file=sys.stderr)


def _encoder_folder(name: str, temporary: Path) -> Path:
    """Return an encoder's folder; a registered encoder is fetched and verified."""
    if not name.startswith("models:"):
        return Path(name)
    from fmri2img.tracking.store import open_store, required
    from fmri2img.tracking.versions import download, resolve

    with required():
        return download(resolve(open_store()[0], name), temporary)


def read_betas(
    path: Path, repetitions: int | None, split: Path | None = None
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Read betas in the unit that the encoder was trained with, averaged over repetitions.

    Parameters
    ----------
    path : Path
        Voxel file or ``.npz`` of `sharing.export`, whose trials of the same image are averaged; or
        ``.npy``.
    repetitions : int or None
        Trials that each row of a ``.npy`` averages.
    split : Path or None
        Split whose test images are wanted; None: all images.

    Returns
    -------
    names : list of str
        Name of each picture.
    betas : ndarray, shape (n, n_voxels), float32
    repetitions : ndarray, shape (n,), int64

    Raises
    ------
    MissingDataError
        If there is no such file.
    FormatError
        If the file is none of these, or holds no responses.
    ConfigError
        If ``repetitions`` is needed and missing, or below 1, or a plain array is to be cut by a
        split.
    MismatchError
        If none of the split's test images is in the file.
    """
    if not path.is_file():
        raise MissingDataError(f"{path} not found; make it with fmri2img export")
    if _starts_with(path, _HDF5):
        return _averages_of_voxels(path, split)
    arrays = _arrays_in(path)
    if isinstance(arrays, np.ndarray):
        return _rows_of_array(path, arrays, repetitions, split)
    return _averages_of_export(path, *arrays, split)


def owner_of(path: Path) -> str:
    """Return the subject that a voxel file or an export names; empty if it names none."""
    if _starts_with(path, _HDF5):
        from fmri2img.sharing.voxel_file import open_voxels

        return str(open_voxels(path).trials.provenance["subject"])
    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return ""
    with loaded as arrays:
        if "provenance_json" not in arrays:
            return ""
        try:
            return str(json.loads(str(arrays["provenance_json"]))["subject"])
        except (ValueError, KeyError, TypeError) as error:
            raise FormatError(
                f"{path}: provenance_json: got text that names no subject, expected what fmri2img "
                "export writes; export it again, or leave the array out"
            ) from error


def _averages_of_voxels(path: Path, split: Path | None) -> tuple[list[str], np.ndarray, np.ndarray]:
    from fmri2img.sharing.voxel_file import open_voxels

    voxels = open_voxels(path)
    images = voxels.image_ids if split is None else _test_images(path, voxels.image_ids, split)
    averages = voxels.average(images)
    _check_betas(path, averages)
    return _names(path, images), averages, voxels.n_repetitions(images)


def _rows_of_array(
    path: Path, betas: np.ndarray, repetitions: int | None, split: Path | None
) -> tuple[list[str], np.ndarray, np.ndarray]:
    _check_betas(path, betas)
    if split is not None:
        raise ConfigError(
            f"--test-images-of: {path} does not say which image a row belongs to; give a voxel "
            "file, or the .npz of fmri2img export"
        )
    if repetitions is None:
        raise ConfigError(
            f"{path}: does not say how many trials each row averages; name it, such as "
            "--repetitions 3"
        )
    if repetitions < 1:
        raise ConfigError(
            f"--repetitions: {repetitions}; expected the number of trials that each row "
            "averages, 1 or more"
        )
    names = [f"{row:05d}" for row in range(len(betas))]
    return names, betas.astype(np.float32), np.full(len(betas), repetitions)


def _averages_of_export(
    path: Path, trials: np.ndarray, ids: np.ndarray, split: Path | None
) -> tuple[list[str], np.ndarray, np.ndarray]:
    from fmri2img.containers.repetitions import average_repetitions

    _check_betas(path, trials)
    if ids.shape != trials.shape[:1]:
        raise FormatError(
            f"{path}: image ids of shape {ids.shape}, expected one for each of the {len(trials)} "
            "rows of betas; export it again"
        )
    if split is not None:
        kept = np.isin(ids, _test_images(path, ids, split))
        trials, ids = trials[kept], ids[kept]
    order = np.argsort(ids, kind="stable")
    images, counts = np.unique(ids, return_counts=True)
    averages = average_repetitions(trials[order], ids[order], images)
    return _names(path, images), averages.astype(np.float32), counts


def _test_images(path: Path, ids: np.ndarray, split: Path) -> np.ndarray:
    """Return those of some images that a split tests on, ascending."""
    wanted = np.intersect1d(Split.open(split, remedy="fmri2img pull").ids("test"), ids)
    if not len(wanted):
        raise MismatchError(
            f"{path}: none of the test images of {split} is in it; name the split of this subject"
        )
    return wanted


def _names(path: Path, images: np.ndarray) -> list[str]:
    """Return the names of pictures, which become those of files."""
    names = [str(id_name(image)) for image in images]
    if wrong := [name for name in names if not is_plain_name(name)]:
        raise FormatError(
            f"{path}: image id {wrong[0]!r}, expected a name of letters, digits and _.-, which "
            "becomes the picture's file name; rename the image"
        )
    return names


def _arrays_in(path: Path) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """Return the array of a ``.npy``, or betas and image ids of a ``.npz``."""
    check_file(path, "fmri2img export")
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded
            forms = [names for names in NAMES_IN_NPZ if set(names) <= set(loaded.files)]
            if forms:
                return loaded[forms[0][0]], loaded[forms[0][1]]
            absent = sorted(set(NAMES_IN_NPZ[0]) - set(loaded.files))
    except (*NOT_AN_ARRAY, zlib.error, zipfile.BadZipFile) as error:
        raise FormatError(
            f"{path}: not a .npy or .npz file of plain arrays; {_advice(path)}"
        ) from error
    raise FormatError(
        f"{path}: {absent[0]} is not in it; expected the arrays that fmri2img export writes"
    )


def _starts_with(path: Path, signature: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(signature)) == signature


def _advice(path: Path) -> str:
    """Say how to make arrays of a file."""
    if _starts_with(path, _PICKLE):
        return "it is a pickle, which is never loaded; save arrays with numpy.savez"
    return "write them with fmri2img export, or with numpy.save or numpy.savez"


def _check_betas(path: Path, betas: np.ndarray) -> None:
    """Refuse what is no table of responses; NaN stands for single voxels without data."""
    if betas.ndim != 2 or betas.dtype.kind != "f" or 0 in betas.shape:
        raise FormatError(
            f"{path}: shape {betas.shape}, {betas.dtype}, expected (n, n_voxels) and floating "
            "point; save responses, in the unit of the training data, in that form"
        )
    for row, values in enumerate(betas):
        with np.errstate(over="ignore"):  # encoders compute in single precision
            has_infinite = np.isinf(values.astype(np.float32)).any()
        if has_infinite:
            raise FormatError(
                f"{path}: row {row} holds an infinite value, or one too large for float32, "
                "expected finite responses, or NaN for voxels without data; correct the row"
            )
        if np.isnan(values).all():
            raise FormatError(
                f"{path}: row {row} is NaN in every voxel, expected responses; remove the row"
            )
