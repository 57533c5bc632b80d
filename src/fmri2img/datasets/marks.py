"""Whether files are simulated: every simulated file says so in itself, so that no file can be
taken for a measured one, whatever is deleted, moved or renamed beside it.

NIfTI files say it in ``descrip``, HDF5 files in the attribute ``source``, tables in the name of
their last column, label tables and onset files in a comment, MATLAB files in their header text.
"""

import gzip
import logging
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import h5py

from fmri2img.provenance.receipts import SIMULATED_NOTICE

log = logging.getLogger(__name__)
MARK = "simulated by fmri2img, not measured"
# Files of version 0.2 and earlier say only this much, and only those in HDF5 and MATLAB's format.
_MARK_BYTES = b"simulated by fmri2img"
_GZIP, _HDF5 = b"\x1f\x8b", b"\x89HDF\r\n\x1a\n"
_HEADER_BYTES = 4096  # of a text file, or of a NIfTI file
SIMULATED = "simulated"
# Files that every folder in the layout of NSD, or of LAION-fMRI, has.
_TYPICAL = (
    "nsddata/experiments/nsd*/*",
    "nsddata/ppdata/*/*/brainmask.nii.gz",
    "nsddata_stimuli/stimuli/nsd/*.hdf5",
    "nsddata_betas/ppdata/*/*/*/ncsnr.nii.gz",
    "derivatives/glmsingle-tedana/*/*/func/*_trials.tsv",
    "stimuli/*.h5",
)


def is_marked(path: Path) -> bool:
    """Return whether a file says that it is simulated; the content decides, not the name."""
    if not path.is_file():  # whoever reads it reports it; a pipe would wait for ever
        return False
    with path.open("rb") as file:
        start = file.read(_HEADER_BYTES)
    if start.startswith(_HDF5):
        return _is_marked_hdf5(path)
    if start.startswith(_GZIP):
        try:
            with gzip.open(path) as file:
                start = file.read(_HEADER_BYTES)
        except (OSError, EOFError, zlib.error):  # whoever reads the file reports it
            return False
    return _MARK_BYTES in start


def _is_marked_hdf5(path: Path) -> bool:
    try:
        with h5py.File(path, "r", locking=False) as file:
            return _MARK_BYTES.decode() in str(file.attrs.get("source", ""))
    except (OSError, KeyError, RuntimeError):  # whoever reads the file reports it
        return False


def source_of(root: Path, files: Iterable[PurePosixPath], dataset: str) -> str:
    """Return where raw files come from: ``simulated`` if one of them says so, or if the folder
    holds the simulator's notice, else the dataset's name.

    A warning names a measured file among simulated ones.
    """
    if (root / SIMULATED_NOTICE).exists():
        return SIMULATED
    marked = {file: is_marked(root / file) for file in files}
    if not any(marked.values()):
        return dataset
    if unmarked := [file for file, is_simulated in marked.items() if not is_simulated]:
        log.warning(
            "%s: %d of %d files are simulated, and %s is not: all of it counts as simulated",
            root,
            len(marked) - len(unmarked),
            len(marked),
            unmarked[0],
        )
    return SIMULATED


def holds_simulated(root: Path) -> bool:
    """Return whether a folder of raw files is a simulated one: by its notice, or by the marks of
    the files that every such folder has.
    """
    if (root / SIMULATED_NOTICE).exists():
        return True
    paths = (path for pattern in _TYPICAL for path in root.glob(pattern) if path.is_file())
    return any(is_marked(path) for path in paths)
