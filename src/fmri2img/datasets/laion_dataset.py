"""LAION-fMRI: five people who each saw about six thousand pictures at 7 tesla.

Its responses are free for everybody (CC0), its pictures are not. Files lie as in its bucket; the
splits that its package ships are used as they are (docs/laion-fmri.md).
"""

from collections.abc import Iterator
from functools import cached_property
from pathlib import PurePosixPath
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from fmri2img.containers.trial_betas import TrialBetas
from fmri2img.containers.units import Units
from fmri2img.datasets.fetching.bucket import Bucket
from fmri2img.datasets.fetching.fetch import describe, download_files, refuse_simulated
from fmri2img.datasets.fetching.partial import RemoteFile
from fmri2img.datasets.joined_sessions import JoinedSessions
from fmri2img.datasets.laion import laion_paths as paths
from fmri2img.datasets.laion.laion_betas import LaionSource, check_grids
from fmri2img.datasets.laion.laion_maps import read_fitted, read_masks, read_shipped_ncsnr
from fmri2img.datasets.laion.laion_pictures import (
    SIDE,
    iterate_stimuli,
    read_human_captions,
    read_names,
)
from fmri2img.datasets.laion.laion_tables import read_split, read_trials
from fmri2img.datasets.marks import source_of
from fmri2img.datasets.protocol import Captions, Facts, LabelVolume, Region, Resources, Setting
from fmri2img.project.config import (
    ConvertRoiParams,
    ExtractBetasParams,
    FetchCaptionsParams,
    Params,
)
from fmri2img.project.exceptions import ConfigError, MismatchError, MissingDataError
from fmri2img.project.files import hash_file
from fmri2img.project.nsd_params import BucketParams
from fmri2img.provenance.receipts import SIMULATED_NOTICE, Ledger, RawFiles, Receipt, Watch

TERMS = (
    "responses are CC0, but pictures and what is made from them stay with those who signed "
    "LAION-fMRI's Data Use Agreement (https://laion-fmri.hebartlab.com/terms)"
)
PUBLIC = "responses"
N_REPETITIONS = 12
UNITS = Units("GLMsingle beta")
SessionNumber = Annotated[int, Field(ge=1, le=99)]
_PICTURES = "fetch them with their package: laion-fmri download-stimuli"


class Settings(Params):
    """``datasets.laion`` in ``params.yaml``.

    Attributes
    ----------
    source : str
        ``s3``: what everybody may have is downloaded; ``local``: all files are there.
    sessions : str or list of int
        ``all``, or the sessions to use.
    split : str
        Name of a split that their package ships; its test images are the dataset's test images.
    pool : str
        Images that the split divides: those of the ``subject``, or those that all subjects
        ``shared``.
    """

    source: Literal["s3", "local"]
    sessions: Literal["all"] | Annotated[list[SessionNumber], Field(min_length=1)]
    split: Literal[paths.SPLITS]  # type: ignore[valid-type]
    pool: Literal["subject", "shared"]
    s3: BucketParams


class Reader:
    """The files of a copy of LAION-fMRI's bucket."""

    def __init__(self, settings: Settings, setting: Setting) -> None:
        self.settings, self.setting = settings, setting

    @cached_property
    def facts(self) -> Facts:
        """What the dataset declares."""
        return Facts(
            title="LAION-fMRI",
            subjects=paths.SUBJECTS,
            picture_side=SIDE,
            n_repetitions=N_REPETITIONS,
            units=UNITS,
            ids="texts",
            missing="masked",
            splits=("shared", "random"),
            terms=TERMS,
        )

    @property
    def picture_side(self) -> int:
        """Height and width of all pictures, in pixels."""
        return SIDE

    def is_here(self) -> bool:
        """Whether the raw folder holds derivatives of LAION-fMRI."""
        return (self.setting.root / "derivatives/glmsingle-tedana").exists()

    def fetch_files(self, name: str, ledger: Ledger, *, watch: Watch) -> Receipt:
        """Download what everybody may have, or use the files where they are."""
        root = self.setting.root
        if self.settings.source == "s3":
            self._check_given(name)
            bucket, listed = self._listed(name)
            if not any(file.path == SIMULATED_NOTICE for file in listed):
                refuse_simulated(root)
            download_files(name, bucket, listed, root, ledger, watch=watch)
        files = self._shared_files() if name == "shared" else self._subject_files(name)
        if absent := [file for file in files if not (root / file).is_file()]:
            raise MissingDataError(
                f"{root}: {len(absent)} of {len(files)} files of {name} are missing, first "
                f"{absent[0]}; complete the folder (docs/laion-fmri.md)"
            )
        source = source_of(root, files, "laion")
        return Receipt.of(name, root, files, ledger, data_source=source, watch=watch)

    def _check_given(self, name: str) -> None:
        """Refuse to download much while something is missing that only their package brings."""
        given = self.setting.root / (paths.STIMULI if name == "shared" else self._split(name))
        if not given.is_file():
            raise MissingDataError(
                f"{given} not found, and no bucket gives it to everybody; get it with LAION-fMRI's "
                "package, as docs/laion-fmri.md says, then run the same command"
            )

    def _split(self, name: str) -> PurePosixPath:
        pool = name if self.settings.pool == "subject" else "shared"
        return paths.split(self.settings.split, pool)

    def preview_fetch(self, name: str) -> list[str]:
        """Say what would be downloaded."""
        if self.settings.source == "s3":
            return describe(name, self._listed(name)[1])
        return [f"{name}: files are used where they lie, nothing is downloaded"]

    def _listed(self, name: str) -> tuple[Bucket, list[RemoteFile]]:
        """List what everybody may have of a subject, or of what all subjects share."""
        bucket = Bucket(self.settings.s3, self.setting.machine.n_connections, "datasets.laion.s3")
        if name == "shared":
            public = {paths.METADATA, paths.CAPTIONS, SIMULATED_NOTICE}
            folders = [paths.METADATA.parent, PurePosixPath()]
            listed = bucket.list_folders(folders)
            return bucket, [file for path, file in listed.items() if path in public]
        listed = bucket.list_below([paths.mask_folder(name), paths.subject_folder(name)])
        listed |= bucket.list_folders([PurePosixPath()])
        chosen = self.settings.sessions
        sessions = paths.SESSIONS if chosen == "all" else chosen
        wanted = {
            *(file(name, one) for one in sessions for file in (paths.betas, paths.trials)),
            *(path for path in listed if paths.region_of(str(path))),
            paths.explained(name),
            paths.noise_ceiling(name),
            SIMULATED_NOTICE,
        }
        if chosen != "all" and (
            absent := [one for one in chosen if paths.betas(name, one) not in listed]
        ):
            raise MissingDataError(
                f"{bucket.where}: no betas of {name}, session {absent[0]}; name sessions that are "
                "there (datasets.laion.sessions)"
            )
        return bucket, [file for path, file in listed.items() if path in wanted]

    def _shared_files(self) -> list[PurePosixPath]:
        return [paths.STIMULI, paths.METADATA, *self._here(paths.CAPTIONS)]

    def _subject_files(self, name: str) -> list[PurePosixPath]:
        sessions = self._sessions(name)
        masks = sorted((self.setting.root / paths.mask_folder(name)).glob("*/*_mask.nii.gz"))
        relative = (PurePosixPath(mask.relative_to(self.setting.root)) for mask in masks)
        return [
            *(file(name, one) for one in sessions for file in (paths.betas, paths.trials)),
            self._split(name),
            *(mask for mask in relative if paths.region_of(str(mask))),
            *self._here(paths.explained(name), paths.noise_ceiling(name)),
        ]

    def _here(self, *files: PurePosixPath) -> list[PurePosixPath]:
        return [file for file in files if (self.setting.root / file).is_file()]

    def _sessions(self, name: str) -> list[int]:
        """Return the chosen sessions; all are those whose folder is there."""
        if self.settings.sessions != "all":
            return sorted(set(self.settings.sessions))
        root = self.setting.root
        here = [one for one in paths.SESSIONS if (root / paths.session_folder(name, one)).exists()]
        if not here:
            raise MissingDataError(
                f"{root / paths.session_folder(name, 1)} not found; set machine.raw_root in "
                "params.yaml to the folder that holds derivatives, stimuli and splits"
            )
        return here

    def read_regions(self, raw: RawFiles, params: ConvertRoiParams) -> LabelVolume:
        """Make a label volume of the masks of regions."""
        if params.drawn_in != "func":
            raise ConfigError(
                "params.yaml: convert_roi.drawn_in: LAION-fMRI's masks lie on the grid of the "
                f"betas; got {params.drawn_in}, set it to func"
            )
        return read_masks(raw, params.rois)

    def read_betas(
        self,
        raw: RawFiles,
        shared: RawFiles,
        region: Region,
        params: ExtractBetasParams,
        resources: Resources,
    ) -> TrialBetas:
        """Read the betas of a region's voxels, for the pictures that the split names."""
        trials, sources = self._trials(raw, resources.watch)
        check_grids(sources, region)
        sessions = JoinedSessions(
            sources,
            trials,
            region,
            self.facts,
            func_space="T1w, 1.8 mm",
            beta_version=f"TYPED; split {self.settings.split} of {self.settings.pool}",
            ncsnr=read_shipped_ncsnr(raw, region),
            in_brain=read_fitted(raw, region),
        )
        return sessions.trial_betas(raw, shared, params, resources)

    def iterate_pictures(
        self,
        raw: RawFiles,  # noqa: ARG002 (one file holds the pictures of all subjects)
        shared: RawFiles,
        image_ids: np.ndarray,
    ) -> Iterator[np.ndarray]:
        """Yield pictures as they were on the screen, each of shape (1000, 1000, 3), uint8."""
        names = read_names(shared.locate(paths.METADATA), remedy=shared.remedy)
        stimuli = shared.locate(paths.STIMULI)
        yield from iterate_stimuli(stimuli, names, image_ids.tolist(), remedy=_PICTURES)

    def collect_captions(
        self,
        raw: RawFiles,  # noqa: ARG002 (one table holds the captions of all subjects' pictures)
        shared: RawFiles,
        image_ids: np.ndarray,
        params: FetchCaptionsParams,  # noqa: ARG002 (they belong to the dataset)
    ) -> Captions:
        """Return what people wrote about pictures, ids of shape (n,)."""
        if not shared.lists(paths.CAPTIONS):
            raise MissingDataError(
                f"{shared.root / paths.CAPTIONS} not found; fetch it with LAION-fMRI's package "
                "(laion-fmri download-captions), and run: dvc repro fetch_raw_shared"
            )
        file = shared.locate(paths.CAPTIONS)
        texts = read_human_captions(file, image_ids.tolist(), remedy=shared.remedy)
        return Captions(texts, {file.name: hash_file(file)})

    def _trials(self, raw: RawFiles, watch: Watch) -> tuple[pd.DataFrame, list[LaionSource]]:
        """Return the trials whose pictures the split names, and where their betas are."""
        split = read_split(raw.locate(self._split(raw.name)))
        sha256 = {record.path: record.sha256 for record in raw.receipt.files}
        sessions = [one for one in range(1, 100) if str(paths.betas(raw.name, one)) in sha256]
        files = raw.locate_all([paths.betas(raw.name, one) for one in sessions], watch=watch)
        tables, sources = [], []
        for session, file in zip(sessions, files, strict=True):
            path = raw.locate(paths.trials(raw.name, session))
            table = read_trials(path, remedy=raw.remedy)
            n_volumes = len(table)
            table = table[table["image_id"].isin(split.train | split.test)].assign(session=session)
            if table.empty:
                continue
            tables.append(table)
            volumes = tuple(table["volume"].tolist())
            digest = sha256[str(paths.betas(raw.name, session))]
            sources.append(LaionSource(file.absolute(), volumes, n_volumes, digest, raw.remedy))
        if not tables:
            raise MismatchError(
                f"{raw.name}: no trial showed a picture of the split {self.settings.split} of "
                f"{self.settings.pool}; name more sessions, or another split (datasets.laion)"
            )
        trials = pd.concat(tables, ignore_index=True)
        return trials.assign(is_test=trials["image_id"].isin(split.test)), sources
