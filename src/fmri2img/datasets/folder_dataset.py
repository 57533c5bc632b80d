"""Any experiment in a folder: arrays, tables and pictures.

Under ``machine.raw_root``::

    dataset.yaml            what is declared (`Declared`)
    pictures.csv            image_id, file, is_test
    pictures/               the files: square, all of one size
    <subject>/trials.csv    session, run, trial, image_id; in time order

and the betas, in the declared unit, either as a table of voxels::

    <subject>/voxels.csv    i, j, k, and a column of label names for each set of regions
    <subject>/betas.npy     (n_trials, n_voxels), float32; NaN: missing

or as volumes (`folder.beta_files`) with regions on their grid (`folder.label_files`)::

    <subject>/betas/        a file for each session, its number in the name; or betas.<suffix>
    <subject>/regions/      label volumes, each with a table of names

Pictures may be rows of ``pictures.hdf5`` (``pictures.csv``: ``row`` in place of ``file``).
``convert_roi.roi`` names one of the columns of ``voxels.csv``, or a label volume; a voxel without a
name there is left out.
"""

import hashlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from fmri2img.containers.storage import NOT_AN_ARRAY
from fmri2img.containers.trial_betas import TrialBetas
from fmri2img.containers.units import Units
from fmri2img.datasets.folder.beta_files import (
    SUFFIXES,
    TRIALS,
    beta_files,
    sessions_in_volumes,
)
from fmri2img.datasets.folder.label_files import label_files, read_label_file
from fmri2img.datasets.folder.picture_files import (
    ARRAY,
    PICTURES,
    image_ids,
    read_picture_files,
    read_picture_rows,
    read_picture_table,
)
from fmri2img.datasets.folder_tables import read_declared, read_table, whole_numbers
from fmri2img.datasets.joined_sessions import JoinedSessions
from fmri2img.datasets.marks import source_of
from fmri2img.datasets.protocol import (
    Captions,
    Facts,
    Ids,
    LabelVolume,
    Missing,
    Region,
    Resources,
    Setting,
)
from fmri2img.datasets.recording import Recording, label_volume
from fmri2img.project.config import (
    ConvertRoiParams,
    ExtractBetasParams,
    FetchCaptionsParams,
    Params,
    SplitKind,
    Subject,
)
from fmri2img.project.exceptions import ConfigError, FormatError, MismatchError, MissingDataError
from fmri2img.project.params_file import check_section, near
from fmri2img.provenance.receipts import Ledger, RawFiles, Receipt, Watch

TERMS = "the terms in this project's dataset.yaml must be kept"
PUBLIC = "declared"  # everything if dataset.yaml declares no terms, else nothing
DECLARED = PurePosixPath("dataset.yaml")
_VOXELS = "voxels.csv"
_POSITION = ("i", "j", "k")
_LARGEST = int(np.iinfo(np.int16).max)  # of numbers that a voxel file holds


class Settings(Params):
    """``datasets.folder`` in ``params.yaml``.

    Attributes
    ----------
    sessions : str or list of int
        ``all``, or the sessions to use.
    """

    sessions: Literal["all"] | Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)]


class Declared(Params):
    """``dataset.yaml``: what the folder's owner states.

    Attributes
    ----------
    title : str
    subjects : list of str
        Names of their folders.
    unit : str
        Unit of betas, such as ``percent signal change``.
    voxel_mm : float
        Side of a voxel.
    picture_side : int
        Height and width of all pictures, in pixels.
    n_repetitions : int
        How many times an image is shown at most.
    ids : str
        ``numbers`` or ``texts``.
    missing : str
        ``masked``: NaN betas are left out; ``refused``: NaN betas are an error.
    terms : str
        Who may have the data; empty: anybody.
    """

    title: Annotated[str, Field(min_length=1)]
    subjects: Annotated[list[Subject], Field(min_length=1)]
    unit: Annotated[str, Field(min_length=1)]
    voxel_mm: Annotated[float, Field(gt=0)]
    picture_side: Annotated[int, Field(ge=16)]
    n_repetitions: Annotated[int, Field(ge=1, le=127)]
    ids: Ids
    missing: Missing
    terms: str


class Reader:
    """A folder's files."""

    def __init__(self, settings: Settings, setting: Setting) -> None:
        self.settings, self.setting = settings, setting

    @cached_property
    def _declared(self) -> Declared:
        path = self.setting.root / DECLARED
        if not path.exists():
            raise MissingDataError(
                f"{path} not found; set machine.raw_root in params.yaml to the folder that holds it"
            )
        values, text = read_declared(path)
        return check_section(Declared, values, text=text, path=path)

    @property
    def facts(self) -> Facts:
        """What ``dataset.yaml`` declares."""
        declared = self._declared
        return Facts(
            title=declared.title,
            subjects=tuple(declared.subjects),
            picture_side=self.picture_side,
            n_repetitions=declared.n_repetitions,
            units=Units(declared.unit),
            ids=declared.ids,
            missing=declared.missing,
            splits=self._splits(self.setting.root / PICTURES),
            terms=declared.terms,
        )

    @property
    def picture_side(self) -> int:
        """Height and width of all pictures, in pixels."""
        return self._declared.picture_side

    def is_here(self) -> bool:
        """Whether the raw folder holds a ``dataset.yaml``."""
        return (self.setting.root / DECLARED).exists()

    def fetch_files(self, name: str, ledger: Ledger, *, watch: Watch) -> Receipt:
        """Use the files where they are."""
        root = self.setting.root
        if name == "shared":
            pictures = self._pictures(root / PICTURES)["path"]
            files = [DECLARED, PICTURES, *dict.fromkeys(pictures)]
        else:
            files = [PurePosixPath(name) / file for file in self._files_of(root / name)]
        if absent := [file for file in files if not (root / file).is_file()]:
            raise MissingDataError(
                f"{root}: {len(absent)} of {len(files)} files of {name} are missing, first "
                f"{absent[0]}; complete the folder"
            )
        # Its owner may write anything into it, also the words that mark simulated files.
        source = source_of(root, [file for file in files if file != DECLARED], "folder")
        receipt = Receipt.of(name, root, files, ledger, data_source=source, watch=watch)
        if name == "shared":
            self._check_copies(receipt)
        return receipt

    @staticmethod
    def _files_of(folder: Path) -> list[str | PurePosixPath]:
        """Return a subject's files: voxels as a table, or as volumes."""
        in_table: list[str | PurePosixPath] = [TRIALS, _VOXELS, "betas.npy"]
        if (folder / _VOXELS).is_file():
            return in_table
        labels, betas = label_files(folder), beta_files(folder)
        if not (labels or betas):
            return in_table
        if not labels:
            raise MissingDataError(
                f"{folder}: no regions; put a label volume on the grid of the betas into "
                f"{folder.name}/regions (docs/own-data.md)"
            )
        if not betas:
            raise MissingDataError(
                f"{folder}: no betas; put a file for each session into {folder.name}/betas, or one "
                f"for all beside it (betas{', betas'.join(SUFFIXES)})"
            )
        return [TRIALS, *labels, *betas]

    def _check_copies(self, receipt: Receipt) -> None:
        """Refuse a test picture that is also a training picture, under another name."""
        table = self._pictures(self.setting.root / PICTURES)
        if "row" in table:
            rows = read_picture_rows(self.setting.root / ARRAY, list(table["row"]))
            table["sha256"] = [hashlib.sha256(row.tobytes()).hexdigest() for row in rows]
        else:
            sha256 = {record.path: record.sha256 for record in receipt.files}
            table["sha256"] = [sha256[str(path)] for path in table["path"]]
        for _, alike in table.groupby("sha256", sort=False):
            if alike["is_test"].nunique() > 1:
                test, training = (
                    alike[alike["is_test"] == one]["image_id"] for one in (True, False)
                )
                raise MismatchError(
                    f"{self.setting.root / PICTURES}: {test.iloc[0]}, a test image, and "
                    f"{training.iloc[0]} are the same picture; give both the same is_test"
                )

    def preview_fetch(self, name: str) -> list[str]:
        """Say that nothing is downloaded."""
        return [f"{name}: files are used where they lie, nothing is downloaded"]

    def read_regions(self, raw: RawFiles, params: ConvertRoiParams) -> LabelVolume:
        """Make a label volume from the region names of one column."""
        if params.drawn_in != "func":
            raise ConfigError(
                "params.yaml: convert_roi.drawn_in: the regions of a folder are drawn in "
                f"functional space; got {params.drawn_in}, set it to func"
            )
        if not raw.lists(PurePosixPath(raw.name) / _VOXELS):
            return read_label_file(raw, "+".join(params.rois), self._declared.voxel_mm)
        path, table = self._voxels(raw)
        column = "+".join(params.rois)
        if column not in (columns := [str(name) for name in table if name not in _POSITION]):
            raise ConfigError(
                f"params.yaml: convert_roi.roi: {path} has no column {column!r}"
                f"{near(column, columns)}; choose from: {', '.join(columns)}"
            )
        positions = table[list(_POSITION)].to_numpy(np.int64)
        return label_volume(positions, list(table[column]), column, self._declared.voxel_mm)

    def read_betas(
        self,
        raw: RawFiles,
        shared: RawFiles,
        region: Region,
        params: ExtractBetasParams,
        resources: Resources,
    ) -> TrialBetas:
        """Read the betas, and join them with the tables."""
        trials = self._trials(raw, shared)
        if not raw.lists(PurePosixPath(raw.name) / _VOXELS):
            sessions = JoinedSessions(
                sessions_in_volumes(raw, region, set(trials["session"]), resources),
                trials,
                region,
                self.facts,
                func_space="own volumes",
                beta_version=self._declared.title,
            )
            return sessions.trial_betas(raw, shared, params, resources)
        _, voxels = self._voxels(raw)
        recording = Recording(
            self._betas(raw, len(voxels))[trials.index.to_numpy()],
            trials,
            voxels[list(_POSITION)].to_numpy(np.int64),
            self._declared.voxel_mm,
        )
        limits = self.setting.machine.session_limits
        return recording.trial_betas(region, params, self.facts, raw, shared, limits)

    def iterate_pictures(
        self,
        raw: RawFiles,  # noqa: ARG002 (one folder holds all pictures)
        shared: RawFiles,
        image_ids: np.ndarray,
    ) -> Iterator[np.ndarray]:
        """Yield the pictures in the files, each of shape (side, side, 3), uint8."""
        table = self._pictures(shared.locate(PICTURES)).set_index("image_id")
        chosen = table.loc[image_ids.tolist()]
        if "row" in table:
            yield from read_picture_rows(shared.locate(ARRAY), list(chosen["row"]))
        else:
            yield from read_picture_files(shared.locate_all(list(chosen["path"])))

    def collect_captions(
        self, raw: RawFiles, shared: RawFiles, image_ids: np.ndarray, params: FetchCaptionsParams
    ) -> Captions:
        """Refuse, whatever the shape of ``image_ids``: a folder has no captions."""
        raise ConfigError(
            f"params.yaml: models.diffusion: {self._declared.title} has no captions, which these "
            f"models need for training ({len(image_ids)} images of {raw.name} in {shared.root}, "
            f"folder {params.folder}); empty the list"
        )

    def _splits(self, path: Path) -> tuple[SplitKind, ...]:
        """Return the kinds of splits; ``shared`` needs images set apart for tests."""
        return ("shared", "random") if self._pictures(path)["is_test"].any() else ("random",)

    def _pictures(self, path: Path) -> pd.DataFrame:
        """Read the table of pictures."""
        return read_picture_table(path, self._declared.ids)

    def _trials(self, raw: RawFiles, shared: RawFiles) -> pd.DataFrame:
        """Read the trials of the chosen sessions; the index is the row of the betas."""
        path = raw.locate(PurePosixPath(raw.name) / TRIALS)
        table = read_table(path, ("session", "run", "trial", "image_id"))
        if table.empty:
            raise FormatError(f"{path}: no trial; write a line for each")
        for column in ("session", "run", "trial"):
            table[column] = whole_numbers(path, table[column], largest=_LARGEST)
        table["image_id"] = image_ids(path, table["image_id"], self._declared.ids)
        pictures = self._pictures(shared.locate(PICTURES)).set_index("image_id")["is_test"]
        if absent := sorted(set(table["image_id"]) - set(pictures.index)):
            raise MismatchError(
                f"{path}: image {absent[0]} is not in {PICTURES} ({len(absent)} such images); add "
                "it there"
            )
        if not table["session"].is_monotonic_increasing:
            raise FormatError(
                f"{path}: sessions are not in order; sort the trials, and the betas with them, by "
                "time"
            )
        table["is_test"] = table["image_id"].map(pictures)
        if self.settings.sessions == "all":
            return table
        if unknown := sorted(set(self.settings.sessions) - set(table["session"])):
            raise ConfigError(
                f"params.yaml: datasets.folder.sessions: {raw.name} has no session {unknown[0]}; "
                f"choose from: {', '.join(map(str, sorted(set(table['session']))))}"
            )
        return table[table["session"].isin(self.settings.sessions)]

    def _voxels(self, raw: RawFiles) -> tuple[Path, pd.DataFrame]:
        path = raw.locate(PurePosixPath(raw.name) / _VOXELS)
        table = read_table(path, _POSITION)
        for axis in _POSITION:
            table[axis] = whole_numbers(path, table[axis], largest=_LARGEST)
        if table.duplicated(list(_POSITION)).any():
            raise FormatError(f"{path}: two voxels have the same position; keep one line per voxel")
        return path, table

    def _betas(self, raw: RawFiles, n_voxels: int) -> np.ndarray:
        path = raw.locate(PurePosixPath(raw.name) / "betas.npy")
        try:
            betas: np.ndarray = np.load(path, allow_pickle=False)
        except NOT_AN_ARRAY as error:
            raise FormatError(
                f"{path}: not an array ({error}); write it with numpy.save"
            ) from error
        n_trials = len(pd.read_csv(path.with_name("trials.csv"), usecols=["session"]))
        if not isinstance(betas, np.ndarray):
            raise FormatError(f"{path}: an archive of arrays; write one with numpy.save")
        if betas.dtype != np.float32 or betas.shape != (n_trials, n_voxels):
            raise FormatError(
                f"{path}: got {betas.dtype} of shape {betas.shape}, expected float32 of "
                f"{(n_trials, n_voxels)} by trials.csv and voxels.csv; save the array again"
            )
        return betas
