"""The layout of files that NSD and the simulated NSD share."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fmri2img.containers.anatomy import Anatomy
from fmri2img.containers.examples import Examples
from fmri2img.containers.ncsnr import estimate_ncsnr
from fmri2img.containers.trial_betas import TrialBetas
from fmri2img.containers.true_pictures import TruePictures
from fmri2img.datasets.nsd.anatomy_reader import read_anatomy
from fmri2img.datasets.nsd.coco_captions import CAPTION_FILES, read_captions, read_coco_ids
from fmri2img.datasets.nsd.conversion import convert_roi, describe_region
from fmri2img.datasets.nsd.design import N_REPETITIONS, N_SUBJECTS, SPLITS, UNITS
from fmri2img.datasets.nsd.extraction import extract_betas
from fmri2img.datasets.nsd.paths import (
    EXPDESIGN,
    STIM_INFO,
    STIMULI,
    SYNTHETIC,
    VOXEL_SIZES_MM,
    own_stimuli,
)
from fmri2img.datasets.nsd.stimuli import STIMULUS_SIDE, iterate_images
from fmri2img.datasets.nsd.synthetic import read_synthetic
from fmri2img.datasets.protocol import (
    Captions,
    Facts,
    LabelVolume,
    Region,
    Resources,
    Setting,
)
from fmri2img.project.config import CollectAnatomyParams, ConvertRoiParams, ExtractBetasParams
from fmri2img.project.files import hash_file
from fmri2img.project.nsd_params import NsdParams
from fmri2img.provenance.receipts import RawFiles


class NsdFiles:
    """A dataset in NSD's layout; subclasses decide where its files come from.

    Parameters
    ----------
    settings : NsdParams
    setting : Setting
    """

    title: str
    terms: str

    def __init__(self, settings: NsdParams, setting: Setting) -> None:
        self._nsd, self.setting = settings, setting

    @property
    def facts(self) -> Facts:
        """What the dataset declares."""
        return Facts(
            title=self.title,
            subjects=tuple(f"subj{number:02d}" for number in range(1, N_SUBJECTS + 1)),
            picture_side=self.picture_side,
            n_repetitions=N_REPETITIONS,
            units=UNITS,
            ids="numbers",
            missing="masked",
            splits=SPLITS,
            terms=self.terms,
            ood=(SYNTHETIC,),
            has_anatomy=True,
        )

    @property
    def picture_side(self) -> int:
        """Height and width of all pictures, in pixels."""
        return STIMULUS_SIDE

    def is_here(self) -> bool:
        """Whether the raw folder holds files in NSD's layout."""
        return (self.setting.root / EXPDESIGN).exists()

    def read_regions(self, raw: RawFiles, params: ConvertRoiParams) -> LabelVolume:
        """Bring regions to functional space."""
        labels, names = convert_roi(raw, self._nsd, params, own_rois=self.setting.own_rois)
        table = describe_region(names, params)
        return LabelVolume(labels, VOXEL_SIZES_MM[self._nsd.func_space], table)

    def read_betas(
        self,
        raw: RawFiles,
        shared: RawFiles,
        region: Region,
        params: ExtractBetasParams,
        resources: Resources,
    ) -> TrialBetas:
        """Read all sessions."""
        return extract_betas(
            raw,
            shared,
            region,
            self._nsd,
            params,
            estimate_ncsnr=estimate_ncsnr,
            resources=resources,
        )

    def read_ood(
        self,
        test: str,  # noqa: ARG002 (there is one)
        raw: RawFiles,
        voxels: TrialBetas,
        image_size: int,
    ) -> tuple[Examples, TruePictures]:
        """Read NSD-synthetic."""
        limits = self.setting.machine.session_limits
        return read_synthetic(raw, voxels, self._nsd, limits, image_size=image_size)

    def read_anatomy(
        self, raw: RawFiles, subject: str, params: CollectAnatomyParams, shape: tuple[int, int, int]
    ) -> Anatomy:
        """Read what the tree has of it."""
        return read_anatomy(raw, subject, self._nsd, params, shape)

    def iterate_pictures(
        self, raw: RawFiles, shared: RawFiles, image_ids: np.ndarray
    ) -> Iterator[np.ndarray]:
        """Yield pictures of the stimulus file, each of shape (425, 425, 3), uint8, after checking
        the files that it refers to, if there are any.
        """
        for files in (raw, shared):
            if files.lists(own_stimuli(files.name)):
                files.locate(own_stimuli(files.name))
        return iterate_images(shared.locate(STIMULI), image_ids, remedy=shared.remedy)


def coco_pictures(
    shared: RawFiles, image_ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return image ids, the pictures' COCO ids and their COCO splits, each of shape (n,)."""
    return image_ids, *read_coco_ids(shared.locate(STIM_INFO), image_ids, remedy=shared.remedy)


def read_coco_captions(shared: RawFiles, image_ids: np.ndarray, folder: Path) -> Captions:
    """Read captions of pictures, ids of shape (n,), from a folder with COCO's caption files."""
    texts = read_captions(folder, *coco_pictures(shared, image_ids))
    present = [name for name in CAPTION_FILES.values() if (folder / name).exists()]
    return Captions(dict(texts.items()), {name: hash_file(folder / name) for name in present})
