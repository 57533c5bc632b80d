"""The simulated NSD: files in NSD's own layout and formats, made here."""

from typing import Self

import numpy as np
from pydantic import model_validator

from fmri2img.datasets.fetching.fetch import check_may_simulate
from fmri2img.datasets.marks import SIMULATED
from fmri2img.datasets.nsd.paths import STIMULI, SYNTHETIC, on_disk, own_stimuli
from fmri2img.datasets.nsd.synthetic import check_responses
from fmri2img.datasets.nsd_files import NsdFiles, coco_pictures, read_coco_captions
from fmri2img.datasets.protocol import Captions, Setting
from fmri2img.datasets.simulation.anatomy_files import write_anatomy
from fmri2img.datasets.simulation.dataset import SimulatedSubject
from fmri2img.datasets.simulation.scene_captions import write_captions
from fmri2img.datasets.simulation.simulated_brain import SimulatedBrain
from fmri2img.datasets.simulation.stimuli_files import simulate_shared
from fmri2img.datasets.simulation.synthetic_session import write_synthetic
from fmri2img.datasets.simulation.worlds import WORLDS
from fmri2img.project.config import FetchCaptionsParams
from fmri2img.project.exceptions import ConfigError, MissingDataError
from fmri2img.project.layout import ANATOMY, coco_folder
from fmri2img.project.nsd_params import SimulatedNsdParams
from fmri2img.project.params_file import near
from fmri2img.project.places import where_it_is
from fmri2img.provenance.receipts import SIMULATED_NOTICE, Ledger, RawFiles, Receipt, Watch

TERMS = ""  # no brain was measured: anybody may have the files
PUBLIC = "everything"


class Settings(SimulatedNsdParams):
    """``datasets.simulated``."""

    @model_validator(mode="after")
    def _world_is_known(self) -> Self:
        if (world := self.simulation.world) not in WORLDS:
            raise ValueError(
                f"simulation.world: there is no world {world!r}{near(world, WORLDS)}; choose from: "
                f"{', '.join(WORLDS)}"
            )
        return self


class Reader(NsdFiles):
    """Simulated files."""

    title = "simulated Natural Scenes Dataset"
    terms = TERMS

    def __init__(self, settings: SimulatedNsdParams, setting: Setting) -> None:
        super().__init__(settings, setting)
        self.settings = settings

    def fetch_files(self, name: str, ledger: Ledger, *, watch: Watch) -> Receipt:  # noqa: ARG002
        """Write the files."""
        # In a copy of the project, other settings must not change the original's files.
        root = self.setting.machine.own_raw_folder
        check_may_simulate(root)
        lacks_shared = root != self.setting.root and not (root / SIMULATED_NOTICE).exists()
        if name != "shared" and lacks_shared:
            simulate_shared(root, self.settings)
        if name == "shared":
            files = simulate_shared(root, self.settings)
        else:
            files = SimulatedSubject(name, self.settings, root).write()
        return Receipt.of(name, root, files, ledger, data_source=SIMULATED)

    def fetch_ood(self, name: str, ledger: Ledger, *, watch: Watch) -> Receipt:  # noqa: ARG002
        """Write the files of NSD-synthetic."""
        check_responses(self.settings)
        root = self.setting.machine.own_raw_folder
        check_may_simulate(root)
        subject = name.removesuffix(f"-{SYNTHETIC}")
        if not on_disk(root, STIMULI).exists() and root != self.setting.root:
            simulate_shared(root, self.settings)
            SimulatedSubject(subject, self.settings, root).write()
        if not on_disk(root, own_stimuli(subject)).exists():
            raise MissingDataError(
                f"{root}: the simulated files of {subject}, from which those of {SYNTHETIC} are "
                "made, are not here; run: dvc repro --force --single-item fetch_raw_shared, then "
                f"the same with fetch_raw@{subject}"
            )
        files = write_synthetic(SimulatedBrain(subject, self.settings, root))
        return Receipt.of(name, root, files, ledger, data_source=SIMULATED)

    def fetch_anatomy(self, name: str, ledger: Ledger, *, watch: Watch) -> Receipt:  # noqa: ARG002
        """Write the files."""
        root = self.setting.machine.own_raw_folder
        check_may_simulate(root)
        subject = name.removesuffix(ANATOMY)
        files = write_anatomy(SimulatedBrain(subject, self.settings, root))
        return Receipt.of(name, root, files, ledger, data_source=SIMULATED)

    def preview_fetch(self, name: str) -> list[str]:
        """Say that nothing is downloaded."""
        return [f"{name}: simulated files are written here, nothing is downloaded"]

    def collect_captions(
        self, raw: RawFiles, shared: RawFiles, image_ids: np.ndarray, params: FetchCaptionsParams
    ) -> Captions:
        """Write captions of the painted scenes, ids of shape (n,), in the form of COCO's files, and
        read these files.
        """
        if params.folder is not None:
            return read_coco_captions(shared, image_ids, where_it_is(params.folder))
        if shared.receipt.data_source != SIMULATED:
            raise ConfigError(
                "params.yaml: dataset is simulated, but the raw files are not; set dataset to nsd"
            )
        folder = coco_folder() / raw.name  # subjects may be described in parallel
        write_captions(folder, self.settings.simulation, *coco_pictures(shared, image_ids))
        return read_coco_captions(shared, image_ids, folder)
