"""Which of NSD's files the project needs: only what ``params.yaml`` names, out of some 300 GB per
space and version.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import PurePosixPath

from fmri2img.datasets.nsd.design import RUNS_PER_SESSION, SESSIONS_HELD, rest_runs_shift
from fmri2img.datasets.nsd.paths import (
    DEPTHS,
    EXPDESIGN,
    STIM_INFO,
    STIMULI,
    SYNTHETIC,
    SYNTHETIC_DESIGN,
    SYNTHETIC_STIMULI,
    SubjectFiles,
    fsaverage_label_table,
    own_stimuli,
    subject_number,
    synthetic_colours,
    template_label_table,
)
from fmri2img.datasets.nsd.rois import NSD_ROIS
from fmri2img.project.exceptions import ConfigError, MissingDataError
from fmri2img.project.layout import ANATOMY
from fmri2img.project.nsd_params import NsdParams
from fmri2img.provenance.receipts import SIMULATED_NOTICE

_SHOWN_NAMES = 6


@dataclass(frozen=True)
class Subset:
    """Files of one subject, or those that all subjects share.

    Attributes
    ----------
    name : str
        A subject, ``shared``, or a subject and ``nsdsynthetic`` or ``anatomy``, joined by a hyphen.
    required, optional : tuple of PurePosixPath
        Optional ones are taken if they are there.
    """

    name: str
    required: tuple[PurePosixPath, ...]
    optional: tuple[PurePosixPath, ...]

    def choose(self, available: Callable[[PurePosixPath], bool], where: str) -> list[PurePosixPath]:
        """Return the files to take.

        Parameters
        ----------
        available : callable
            Whether a file is there.
        where : str
            Place of the files, for the message.

        Raises
        ------
        MissingDataError
            If required files are not there; the message names them.
        """
        if absent := [path for path in self.required if not available(path)]:
            names = ", ".join(map(str, absent[:_SHOWN_NAMES])) + (
                ", ..." if len(absent) > _SHOWN_NAMES else ""
            )
            raise MissingDataError(
                f"{where}: {len(absent)} of {len(self.required)} files of {self.name} are missing: "
                f"{names}; complete the copy, or name in params.yaml (datasets) only sessions, "
                "space, version and format that are there"
            )
        return [*self.required, *(path for path in self.optional if available(path))]

    def folders(self) -> list[PurePosixPath]:
        """Return the folders that hold the files."""
        return sorted({path.parent for path in (*self.required, *self.optional)})


def name_subset(name: str, nsd: NsdParams) -> Subset:
    """Return the files of a subject, those that all subjects share, or a subject's files of
    NSD-synthetic.

    Raises
    ------
    ConfigError
        If ``rois`` names an ROI that NSD does not have.
    """
    if name == "shared":
        optional_shared = (SIMULATED_NOTICE, STIM_INFO, own_stimuli(name))
        return Subset(name, (EXPDESIGN, STIMULI), optional_shared)
    if name.endswith(f"-{SYNTHETIC}"):
        return _synthetic_subset(name, nsd)
    if name.endswith(ANATOMY):
        return _anatomy_subset(name, nsd)
    files = SubjectFiles(name, nsd.func_space)
    sessions = nsd.sessions_of(name, SESSIONS_HELD[subject_number(name) - 1])
    required = [files.responses(), files.brainmask(), *_responses(files, sessions, nsd)]
    optional = [
        SIMULATED_NOTICE,
        own_stimuli(name),
        files.transform(),
        *(files.valid(session) for session in sessions),
    ]
    volumes = [
        (
            files.anat_roi(roi),
            files.func_roi(roi),
            files.label_table(roi),
            fsaverage_label_table(roi),
            template_label_table(roi),
        )
        for roi in _rois(nsd.rois)
    ]
    if nsd.responses == "betas":
        optional.append(files.ncsnr(nsd.beta_version))  # for description only
    return Subset(
        name, tuple(required), (*optional, *(path for group in volumes for path in group))
    )


def _synthetic_subset(name: str, nsd: NsdParams) -> Subset:
    """Return a subject's files of NSD-synthetic."""
    subject = name.removesuffix(f"-{SYNTHETIC}")
    files = SubjectFiles(subject, nsd.func_space)
    required = (
        SYNTHETIC_DESIGN,
        SYNTHETIC_STIMULI,
        synthetic_colours(subject),
        files.synthetic_betas(nsd.beta_version, nsd.beta_format),
    )
    return Subset(name, required, (SIMULATED_NOTICE, files.synthetic_valid()))


def _anatomy_subset(name: str, nsd: NsdParams) -> Subset:
    """Return what maps of a subject's voxels are drawn with; none of it is needed elsewhere."""
    files = SubjectFiles(name.removesuffix(ANATOMY), nsd.func_space)
    surfaces = [
        path
        for side in ("lh", "rh")
        for path in (*(files.to_depth(side, depth) for depth in DEPTHS), files.to_template(side))
    ]
    optional = (SIMULATED_NOTICE, files.underlay("mean"), files.underlay("T1"), *surfaces)
    return Subset(name, (), optional)


def _rois(chosen: str | Collection[str]) -> Collection[str]:
    if isinstance(chosen, str):
        return NSD_ROIS
    if unknown := [roi for roi in chosen if roi not in NSD_ROIS]:
        raise ConfigError(
            f"params.yaml: datasets: rois: NSD has no ROI {unknown[0]!r}; choose from: "
            f"{', '.join(NSD_ROIS)}"
        )
    return chosen


def _responses(files: SubjectFiles, sessions: list[int], nsd: NsdParams) -> list[PurePosixPath]:
    if nsd.responses == "betas":
        return [files.betas(nsd.beta_version, session, nsd.beta_format) for session in sessions]
    number, named = subject_number(files.subject), []
    for session in sessions:
        shift = rest_runs_shift(number, session)
        for run in range(1 + shift, RUNS_PER_SESSION + shift + 1):
            named += [files.timeseries(session, run), files.design(session, run)]
    return named
