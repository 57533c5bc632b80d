"""Paths of NSD's files; no function here accesses the disk."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

BetaVersion = Literal["b1", "b2", "b3"]
FuncSpace = Literal["func1pt8mm", "func1mm"]
BetaFormat = Literal["hdf5", "nii.gz"]

BETA_FOLDERS: dict[str, str] = {
    "b1": "betas_assumehrf",
    "b2": "betas_fithrf",
    "b3": "betas_fithrf_GLMdenoise_RR",
}
VOXEL_SIZES_MM: dict[str, float] = {
    "func1pt8mm": 1.8,
    "func1mm": 1.0,
    "anat0pt8": 0.8,
    "anat1pt0": 1.0,
}
# Depths of the cortex at which volumes are read for surfaces, from white matter outwards.
DEPTHS = ("layerB1", "layerB2", "layerB3")
_UNDERLAYS = {"mean": "mean", "T1": "T1_to_{}"}
# Transform files spell the functional spaces without the unit and with the decimal.
TRANSFORM_NAMES: dict[str, str] = {"func1pt8mm": "func1pt8", "func1mm": "func1pt0"}

STIMULI = PurePosixPath("nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5")
EXPDESIGN = PurePosixPath("nsddata/experiments/nsd/nsd_expdesign.mat")
STIM_INFO = PurePosixPath("nsddata/experiments/nsd/nsd_stim_info_merged.csv")
# One more session of each subject; see datasets.nsd.synthetic.
SYNTHETIC = "nsdsynthetic"
SYNTHETIC_DESIGN = PurePosixPath(f"nsddata/experiments/{SYNTHETIC}/{SYNTHETIC}_expdesign.mat")
SYNTHETIC_STIMULI = PurePosixPath(f"nsddata_stimuli/stimuli/{SYNTHETIC}/{SYNTHETIC}_stimuli.hdf5")


def own_stimuli(name: str) -> PurePosixPath:
    """Return the file of the pictures that only one subject saw, or of the ``shared`` ones.

    Simulated trees have them, and `STIMULI` refers to them; NSD has all pictures in `STIMULI`.
    """
    return STIMULI.with_name(f"{STIMULI.stem}_{name}{STIMULI.suffix}")


def synthetic_colours(subject: str) -> PurePosixPath:
    """Return the file of the coloured pictures of NSD-synthetic, each subject's own."""
    return SYNTHETIC_STIMULI.with_name(f"{SYNTHETIC}_colorstimuli_{subject}.hdf5")


def subject_number(subject: str) -> int:
    """Return 1 to 8 for ``subj01`` to ``subj08``."""
    return int(subject.removeprefix("subj"))


@dataclass(frozen=True)
class SubjectFiles:
    """Paths of one subject's files, relative to the NSD root.

    Attributes
    ----------
    subject : str
        ``subj01`` to ``subj08``.
    func_space : str
        ``func1pt8mm`` or ``func1mm``.
    """

    subject: str
    func_space: FuncSpace = "func1pt8mm"

    @property
    def _ppdata(self) -> PurePosixPath:
        return PurePosixPath("nsddata/ppdata") / self.subject

    def responses(self) -> PurePosixPath:
        """Behaviour and trial order, one row per trial."""
        return self._ppdata / "behav" / "responses.tsv"

    def brainmask(self) -> PurePosixPath:
        """Liberal brain mask in functional space."""
        return self._ppdata / self.func_space / "brainmask.nii.gz"

    def valid(self, session: int) -> PurePosixPath:
        """Voxels with data in one session."""
        return self._ppdata / self.func_space / f"valid_session{session:02d}.nii.gz"

    def func_roi(self, name: str) -> PurePosixPath:
        """ROI volume in functional space."""
        return self._ppdata / self.func_space / "roi" / f"{name}.nii.gz"

    def anat_roi(self, name: str) -> PurePosixPath:
        """ROI volume in the 0.8-mm anatomical space."""
        return self._ppdata / "anat" / "roi" / f"{name}.nii.gz"

    def label_table(self, roi: str) -> PurePosixPath:
        """Label names of an ROI, in the subject's FreeSurfer folder (the one that holds every
        table).
        """
        return PurePosixPath("nsddata/freesurfer") / self.subject / "label" / f"{roi}.mgz.ctab"

    def transform(self, source: str = "anat0pt8") -> PurePosixPath:
        """Coordinates of every functional voxel in the source space."""
        return (
            self._ppdata / "transforms" / f"{source}-to-{TRANSFORM_NAMES[self.func_space]}.nii.gz"
        )

    def underlay(self, name: str) -> PurePosixPath:
        """Volume to draw maps over: ``mean`` of the functional volumes, or ``T1``."""
        stem = _UNDERLAYS[name].format(self.func_space)
        return self._ppdata / self.func_space / f"{stem}.nii.gz"

    def to_depth(self, side: str, depth: str) -> PurePosixPath:
        """Coordinates in functional space of a hemisphere's vertices (``lh`` or ``rh``) at one of
        `DEPTHS`.
        """
        source = TRANSFORM_NAMES[self.func_space]
        return self._ppdata / "transforms" / f"{side}.{source}-to-{depth}.mgz"

    def to_template(self, side: str) -> PurePosixPath:
        """Vertex of a hemisphere that belongs to each vertex of fsaverage."""
        return self._ppdata / "transforms" / f"{side}.white-to-fsaverage.mgz"

    def betas_folder(self, version: BetaVersion) -> PurePosixPath:
        """Folder of one beta version."""
        return (
            PurePosixPath("nsddata_betas/ppdata")
            / self.subject
            / self.func_space
            / BETA_FOLDERS[version]
        )

    def betas(self, version: BetaVersion, session: int, file_format: BetaFormat) -> PurePosixPath:
        """Betas of one session."""
        return self.betas_folder(version) / f"betas_session{session:02d}.{file_format}"

    def synthetic_betas(self, version: BetaVersion, file_format: BetaFormat) -> PurePosixPath:
        """Betas of NSD-synthetic's session."""
        folder = self.betas_folder(version)
        name = f"betas_{SYNTHETIC}.{file_format}"
        return folder.with_name(f"{SYNTHETIC}{folder.name}") / name

    def synthetic_valid(self) -> PurePosixPath:
        """Voxels with data in NSD-synthetic's session."""
        return self._ppdata / self.func_space / f"valid_{SYNTHETIC}.nii.gz"

    def ncsnr(self, version: BetaVersion, suffix: str = "") -> PurePosixPath:
        """Noise-ceiling signal-to-noise ratio; suffix ``_split1`` or ``_split2`` for half the
        images.
        """
        return self.betas_folder(version) / f"ncsnr{suffix}.nii.gz"

    def design(self, session: int, file_run: int) -> PurePosixPath:
        """Stimulus onsets of one run, counted as in file names (rest runs included)."""
        return (
            self._timeseries_folder
            / "design"
            / f"design_session{session:02d}_run{file_run:02d}.tsv"
        )

    def timeseries(self, session: int, file_run: int) -> PurePosixPath:
        """Volumes of one run, counted as in file names (rest runs included)."""
        return (
            self._timeseries_folder
            / "timeseries"
            / f"timeseries_session{session:02d}_run{file_run:02d}.nii.gz"
        )

    @property
    def _timeseries_folder(self) -> PurePosixPath:
        return PurePosixPath("nsddata_timeseries/ppdata") / self.subject / self.func_space


def template_label_table(roi: str) -> PurePosixPath:
    """Label names of MTL and thalamus."""
    return PurePosixPath("nsddata/templates") / f"{roi}.ctab"


def fsaverage_label_table(roi: str) -> PurePosixPath:
    """Label names of an atlas drawn on fsaverage."""
    return PurePosixPath("nsddata/freesurfer/fsaverage/label") / f"{roi}.mgz.ctab"


def on_disk(root: Path, file: PurePosixPath) -> Path:
    """Join an NSD-relative path to a root folder."""
    return root / Path(*file.parts)
