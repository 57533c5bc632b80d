"""What all containers share: frozen arrays and one ``provenance`` dict, saved as HDF5."""

import json
from collections.abc import Collection
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self

import h5py
import numpy as np

from fmri2img.containers.declared_arrays import Array, first_fault
from fmri2img.containers.storage import StoredArray, array_fault, write_array, writing
from fmri2img.project.exceptions import FormatError, MismatchError
from fmri2img.project.files import check_file, replacing

# Every file that a stage writes names it: the version of fmri2img whose form of files this is. Not
# the package's, or a release would change the bytes of all results and read NSD anew.
FORMAT = "0.2.0"
# Axes and units of the arrays in a file, for readers without this project.
_MEANINGS: dict[str, tuple[str, str]] = {
    "voxel_ijk": (
        "voxels, (i, j, k)",
        "0-based position in the functional volume, NIfTI order (x from left, y from posterior, z "
        "from inferior)",
    ),
    "roi_labels": ("voxels", "label of the region; names in the attribute provenance, roi_names"),
    "ncsnr": (
        "voxels",
        "signal SD over noise SD as the dataset ships it, over all its trials, test images "
        "included; NaN: none",
    ),
    "training_ncsnr": (
        "voxels",
        "signal SD over noise SD on images that are not shared; NaN: not estimated",
    ),
    "in_brain": ("voxels", "whether the dataset's brain mask holds the voxel"),
    "sessions": ("sessions", "session number, from 1"),
    "valid": (
        "sessions, voxels",
        "whether the voxel has data in the session; where not, betas are 0",
    ),
    "saturated": ("sessions, voxels", "number of trials at the limit of what is stored"),
    "affine": ("4, 4", "voxel indices to millimetres, as the dataset has it"),
    "betas": (
        "trials, voxels",
        "in the attribute provenance, units: per_unit of them are one unit; NaN: no data",
    ),
    "image_ids": (
        "trials in a voxel file, else images",
        "the dataset's name of the picture: a number or a text",
    ),
    "is_shared": (
        "as image_ids",
        "whether the image is one of those that the dataset sets apart for tests",
    ),
    "session": ("trials", "session number, from 1"),
    "run": ("trials", "run number within the session, from 1, rest runs not counted"),
    "trial": ("trials", "trial number within the run, from 1"),
    "repetition": ("trials", "how often the image was shown before, from 0"),
    "images": ("images, rows, columns, RGB", "0 to 255"),
    "trial_image_ids": ("trials", "the dataset's name of the picture"),
    "trial_session": ("trials", "session number, from 1"),
    "values": ("images, channels, rows, columns", "latents in the autoencoder's scaled units"),
    "energies": (
        "images, bands, rows, columns",
        "mean amplitude of oriented bands of the luminance in each cell",
    ),
    "z_latents": (
        "images, channels, rows, columns",
        "Stable Diffusion's latents of pictures of 320 x 320, in scaled units",
    ),
    "text_embeddings": (
        "images, tokens, features",
        "text embeddings, averaged over the captions of an image",
    ),
    "samples": ("test images, samples, rows, columns, RGB", "0 to 255"),
    "regions": ("regions", "names"),
    "n_voxels": ("regions", "voxels that each distribution was learnt from"),
    "means": (
        "regions, channels",
        "mean over voxels of the response to each channel of a picture's description",
    ),
    "covariances": ("regions, channels, channels", "covariance of the same over voxels"),
    "window_shares": (
        "regions, sizes",
        "share of voxels that see a window of each size; first the whole picture",
    ),
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
    earlier_names: ClassVar[dict[str, str]] = {}  # names of arrays in version 0.1
    arrays: ClassVar[dict[str, Array]] = {}  # declarations that a file is checked against
    # Entries of a file's provenance that others rely on.
    needed_provenance: ClassVar[dict[str, type]] = {}
    # Arrays that version 0.1 wrote empty where they do not apply to an encoder.
    once_empty: ClassVar[tuple[str, ...]] = ()

    def save(self, path: Path) -> None:
        """Write the container to ``path`` in one step; the same contents give the same bytes.

        Raises
        ------
        MismatchError
            If an array has the wrong dtype, shape or order, or numbers that are not finite; what
            was there before is kept.
        """
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        present = {name: value for name, value in values.items() if value is not None}
        if fault := first_fault(self.arrays, present) or self.contradiction():
            raise MismatchError(
                f"{path}: {fault}; nothing was written, and what was there is kept; check what it "
                "is made from: weights, pictures and betas"
            )
        self._write(path)

    def _write(self, path: Path) -> None:
        with replacing(path) as partial, writing(partial) as file:
            file.attrs["container"] = type(self).__name__
            file.attrs["written_by"] = f"fmri2img {FORMAT}"
            for item in fields(self):
                value = getattr(self, item.name)
                if value is None:
                    continue
                if isinstance(value, dict):
                    file.attrs[item.name] = json.dumps(value, sort_keys=True)
                else:
                    write_array(file, item.name, value)
                    if item.name in _MEANINGS:
                        file[item.name].attrs["axes"], file[item.name].attrs["meaning"] = _MEANINGS[
                            item.name
                        ]

    @classmethod
    def open(
        cls, path: Path, *, remedy: str, on_disk: Collection[str] = (), subject: str = ""
    ) -> Self:
        """Read a container, and check its arrays against their declarations.

        Parameters
        ----------
        path : Path
        remedy : str
            The command that makes the file.
        on_disk : collection of str
            Arrays that stay in the file and are read when indexed (`storage.StoredArray`).
        subject : str
            Expected subject; empty: any.

        Raises
        ------
        MissingDataError
            If the file is not there.
        FormatError
            If it is not such a container, or an array has the wrong dtype, shape or order, or
            numbers that are not finite.
        MismatchError
            If it belongs to another subject.
        """
        check_file(path, remedy)
        try:
            with h5py.File(path, "r", locking=False) as file:
                if file.attrs.get("container") != cls.__name__:
                    raise FormatError(
                        f"{path}: expected a file of {cls.__name__}, got "
                        f"{file.attrs.get('container')!r}; run: {remedy}"
                    )
                kept = {*cls.stays_on_disk, *on_disk}
                values = {
                    item.name: _read(file, name, item.name in kept)
                    for item in fields(cls)
                    if (name := cls._name_in(file, item.name)) or item.default is MISSING
                }
        except FormatError:
            raise
        except (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise FormatError(
                f"{path}: not a readable {cls.__name__} file ({error}); run: {remedy}"
            ) from error
        for name, value in values.items():
            if isinstance(value, dict) != (name == "provenance"):
                expected = "names and values" if name == "provenance" else "an array"
                raise FormatError(f"{path}: {name}: expected {expected}; run: {remedy}")
        values["provenance"] = cls.complete(values["provenance"])
        for name, kind in cls.needed_provenance.items():
            if not isinstance(values["provenance"].get(name), kind):
                raise FormatError(
                    f"{path}: provenance: {name}: got {values['provenance'].get(name)!r:.60}, "
                    f"expected a {kind.__name__}; run: {remedy}"
                )
        owner = values["provenance"].get("subject", subject)
        if subject and owner != subject:
            raise MismatchError(f"{path} belongs to {owner}, expected {subject}; run: {remedy}")
        if fault := first_fault(cls.arrays, values):
            raise FormatError(f"{path}: {fault}; run: {remedy}")
        container = cls(**values)
        if fault := container.contradiction():
            raise FormatError(f"{path}: {fault}; run: {remedy}")
        return container

    @classmethod
    def complete(cls, provenance: dict[str, Any]) -> dict[str, Any]:
        """Return a file's provenance with facts that earlier versions left out. For subclasses."""
        return provenance

    def contradiction(self) -> str:
        """Describe arrays that contradict one another; empty if none do. For subclasses."""
        return ""

    @classmethod
    def _name_in(cls, file: h5py.File, name: str) -> str:
        """Return an array's name in a file; empty if it is optional and not there."""
        for known in (name, cls.earlier_names.get(name, name)):
            if known in file.attrs:
                return known
            is_there = known in list(file)  # also as a link that leads nowhere
            if is_there and not (name in cls.once_empty and 0 in file[known].shape):
                return known
        optional = {item.name for item in fields(cls) if item.default is not MISSING}
        return "" if name in optional else name

    def _check_lengths(self, **groups: list[str]) -> None:
        for group, names in groups.items():
            lengths = {
                name: len(getattr(self, name)) for name in names if getattr(self, name) is not None
            }
            if len(set(lengths.values())) > 1:
                raise MismatchError(
                    f"{type(self).__name__}: arrays over {group} differ in length: {lengths}; "
                    "create the file again"
                )


def _read(file: h5py.File, name: str, stays_on_disk: bool) -> Any:
    if name in file.attrs:
        return json.loads(file.attrs[name])
    if fault := array_fault(file, name):
        raise ValueError(fault)
    stored = file[name]
    texts = h5py.check_string_dtype(stored.dtype)
    if texts is not None and texts.length is None and not stays_on_disk:
        return stored.asstr()[()].astype(np.str_)
    if not stays_on_disk:
        return stored[()]
    return StoredArray(Path(file.filename), name, stored.shape, stored.dtype)
