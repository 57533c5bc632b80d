"""The Natural Scenes Dataset, from the public bucket or a copy of it."""

from pathlib import Path

import numpy as np

from fmri2img.datasets.fetching.caption_archive import fetch_captions
from fmri2img.datasets.fetching.fetch import fetch_bucket, list_bucket, use_local
from fmri2img.datasets.nsd.synthetic import check_responses
from fmri2img.datasets.nsd_files import NsdFiles, read_coco_captions
from fmri2img.datasets.protocol import Captions, Setting
from fmri2img.project.config import FetchCaptionsParams
from fmri2img.project.exceptions import ConfigError
from fmri2img.project.layout import coco_folder
from fmri2img.project.nsd_params import RealNsdParams
from fmri2img.project.places import where_it_is
from fmri2img.provenance.receipts import Ledger, RawFiles, Receipt, Watch

TERMS = (
    "voxels are components of the Natural Scenes Dataset and may not leave the group that accepted "
    "its agreement (https://naturalscenesdataset.org)"
)
PUBLIC = "nothing"
Settings = RealNsdParams


class Reader(NsdFiles):
    """NSD's files."""

    title = "Natural Scenes Dataset"
    terms = TERMS

    def __init__(self, settings: RealNsdParams, setting: Setting) -> None:
        super().__init__(settings, setting)
        self.settings = settings

    def fetch_files(self, name: str, ledger: Ledger, *, watch: Watch) -> Receipt:
        """Download the files, or use an existing copy."""
        machine = self.setting.machine
        if self.settings.source == "s3":
            return fetch_bucket(name, self.settings, machine, ledger, watch=watch)
        return use_local(name, self.settings, self.setting.root, ledger, watch=watch)

    def fetch_ood(self, name: str, ledger: Ledger, *, watch: Watch) -> Receipt:
        """Download the files of NSD-synthetic, or use an existing copy."""
        check_responses(self.settings)
        return self.fetch_files(name, ledger, watch=watch)

    def fetch_anatomy(self, name: str, ledger: Ledger, *, watch: Watch) -> Receipt:
        """Download the files that there are, or use an existing copy."""
        return self.fetch_files(name, ledger, watch=watch)

    def preview_fetch(self, name: str) -> list[str]:
        """Log what would be fetched from the bucket, or say that nothing is downloaded."""
        if self.settings.source == "s3":
            list_bucket(name, self.settings, self.setting.machine.n_connections)
            return []
        return [f"{name}: source {self.settings.source} downloads nothing"]

    def collect_captions(
        self,
        raw: RawFiles,  # noqa: ARG002 (COCO's files hold the captions of all pictures)
        shared: RawFiles,
        image_ids: np.ndarray,
        params: FetchCaptionsParams,
    ) -> Captions:
        """Read COCO's captions of pictures, ids of shape (n,), and fetch them first if needed."""
        return read_coco_captions(shared, image_ids, self._caption_folder(shared, params))

    def _caption_folder(self, shared: RawFiles, params: FetchCaptionsParams) -> Path:
        if params.folder is not None:
            return where_it_is(params.folder)
        if shared.receipt.data_source == "simulated":
            raise ConfigError(
                "params.yaml: dataset is nsd, but its files are simulated, and nsd does not know "
                "which scenes they show; name the folder with their captions in "
                "fetch_captions.folder "
                "(data/raw/coco/annotations/<subject>, where they were simulated)"
            )
        folder = where_it_is(coco_folder())
        fetch_captions(params.url, folder)
        return folder
