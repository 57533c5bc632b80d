"""The simulated experiment of one subject, and its files.

The same settings give the same bytes.
"""

from collections.abc import Iterator
from pathlib import PurePosixPath

import h5py
import numpy as np

from fmri2img.datasets.marks import MARK
from fmri2img.datasets.nsd.design import RUNS_PER_SESSION, TR_SECONDS, UNITS, rest_runs_shift
from fmri2img.datasets.nsd.paths import BetaVersion, on_disk, template_label_table
from fmri2img.datasets.nsd.rois import LABEL_NAMES
from fmri2img.datasets.nsd.volumes import write_volume
from fmri2img.datasets.simulation import raw_formats as writers
from fmri2img.datasets.simulation.cortex import (
    ANAT_VOXEL_MM,
    func_to_anat_coordinates,
    func_to_anat_mm,
)
from fmri2img.datasets.simulation.label_volumes import (
    CORTICAL_ROIS,
    SIMULATED_ROIS,
    split_hemispheres,
)
from fmri2img.datasets.simulation.simulated_brain import SimulatedBrain
from fmri2img.datasets.simulation.stimuli_files import write_pictures
from fmri2img.datasets.simulation.trial_order import responses_table, shown_images
from fmri2img.datasets.simulation.voxel_responses import VoxelModel, simulate_run


class SimulatedSubject(SimulatedBrain):
    """One simulated subject, and the files made from it."""

    def write(self) -> list[PurePosixPath]:
        """Write all files of this subject; return their paths relative to the root."""
        written = [self._write_pictures(), *self._write_anatomy()]
        table = responses_table(self.design, self.number, self.sessions, self.simulation.seed)
        written.append(writers.write_responses(self.root, self.files, table))
        for session in self.sessions:
            written += writers.write_design_runs(
                self.root, self.files, self.design, session, self.number
            )
        for session in self.sessions:
            valid = self._valid_voxels(session)
            write_volume(
                on_disk(self.root, self.files.valid(session)),
                valid.astype(np.int16),
                self.cortex.func_voxel_mm,
                description=MARK,
            )
            written.append(self.files.valid(session))
        for version in self.simulation.beta_versions:
            written += self._write_betas(version)
        return written

    def _write_pictures(self) -> PurePosixPath:
        """Write the pictures that nobody else sees."""
        unique = np.setdiff1d(self.image_ids, self.design.experiment.shared_image_ids)
        return write_pictures(self.root, self.subject, self.nsd, unique, are_shared=False)

    def _write_timeseries(self, session: int, betas_path: PurePosixPath) -> list[PurePosixPath]:
        """Write the runs of a session, made from its betas; rest runs hold only noise."""
        with h5py.File(on_disk(self.root, betas_path), "r", locking=False) as file:
            betas = file["betas"][()].transpose(3, 2, 1, 0)  # (x, y, z, 750)
        slots = self.design.stimulus_slots[session - 1]
        shift = rest_runs_shift(self.number, session)
        mean = 900 + 500 * np.random.default_rng([self.simulation.seed, 5, self.number]).random(
            self.brain_mask.shape
        )
        written, first = [], 0
        for file_run in range(1, RUNS_PER_SESSION + 2 * shift + 1):
            run = file_run - shift - 1
            shown = (
                np.flatnonzero(slots[run])
                if 0 <= run < RUNS_PER_SESSION
                else np.zeros(0, dtype=np.int64)
            )
            percent = betas[self.brain_mask, first : first + len(shown)].astype(
                np.float32
            ) / np.float32(UNITS.per_unit)
            first += len(shown)
            rng = np.random.default_rng([self.simulation.seed, 226, self.number, session, file_run])
            series = simulate_run(
                percent, shown, mean[self.brain_mask], TR_SECONDS[self.nsd.func_space], rng
            )
            path = self.files.timeseries(session, file_run)
            writers.write_timeseries(
                on_disk(self.root, path),
                self.brain_mask,
                series,
                self.cortex.func_voxel_mm,
                self.nsd.func_space,
            )
            written.append(path)
        return written

    def _write_anatomy(self) -> list[PurePosixPath]:
        """Write ROIs in both spaces, label tables, the transform and the brain mask."""
        anat, func, is_left = self.label_volumes
        func_mm = func_to_anat_mm(self.cortex)
        voxel_mm = self.cortex.func_voxel_mm
        written = []
        for roi in SIMULATED_ROIS:
            volumes = split_hemispheres(anat[roi], is_left)
            written += writers.write_roi(
                self.root, self.files.anat_roi, roi, volumes, ANAT_VOXEL_MM
            )
            volumes = split_hemispheres(func[roi], func_mm[..., 0] < 0)
            written += writers.write_roi(self.root, self.files.func_roi, roi, volumes, voxel_mm)
            if roi in CORTICAL_ROIS:
                written += writers.write_label_tables(
                    self.root, [self.files.label_table(roi)], LABEL_NAMES[roi]
                )
            else:
                written.append(template_label_table(roi))  # of all subjects, written with theirs
        coordinates = func_to_anat_coordinates(self.cortex)
        others: dict[PurePosixPath, np.ndarray] = {
            self.files.transform(): coordinates,
            self.files.brainmask(): self.brain_mask.astype(np.int16),
        }
        for path, volume in others.items():
            write_volume(on_disk(self.root, path), volume, voxel_mm, description=MARK)
        return [*written, self.files.transform(), self.files.brainmask()]

    def _valid_voxels(self, session: int) -> np.ndarray:
        """Return voxels with data in a session: head motion cuts off planes in later sessions."""
        if session == self.sessions[0]:
            return self.brain_mask
        rng = np.random.default_rng([self.simulation.seed, 77, self.number, session])
        lost_below, lost_behind, lost_above = rng.integers(0, 5, 3)
        valid = self.brain_mask.copy()
        valid[:, :, :lost_below] = False
        valid[:, :lost_behind] = False
        valid[:, :, valid.shape[2] - lost_above :] = False
        return valid

    def _write_betas(self, version: BetaVersion) -> list[PurePosixPath]:
        """Write every session's betas in the wanted formats, then ncsnr from the betas files."""
        signal, model = self.signal(version), self.voxel_model(version)
        stored, written = [], []
        for session in self.sessions:
            path = self.files.betas(version, session, "hdf5")
            slabs = self._session_slabs(version, session, signal, model)
            writers.write_betas_hdf5(on_disk(self.root, path), self.cortex.func_shape, slabs)
            stored.append(path)
            if self.simulation.timeseries and version == self.simulation.beta_versions[0]:
                written += self._write_timeseries(session, path)
            if "nii.gz" in self.simulation.beta_formats:
                written.append(self.files.betas(version, session, "nii.gz"))
                tr = TR_SECONDS[self.nsd.func_space]
                writers.write_betas_nifti(
                    on_disk(self.root, written[-1]),
                    on_disk(self.root, path),
                    self.cortex.func_voxel_mm,
                    tr,
                )
        image_ids = shown_images(self.design.experiment, self.number, self.sessions)
        written += writers.write_ncsnr(
            self.root, self.files, version, stored, self.brain_mask, image_ids
        )
        if "hdf5" in self.simulation.beta_formats:
            return written + stored
        for path in stored:
            on_disk(self.root, path).unlink()
        return written

    def _session_slabs(
        self, version: BetaVersion, session: int, signal: np.ndarray, model: VoxelModel
    ) -> Iterator[np.ndarray]:
        """Yield one session's betas in stored units, slab by slab from below, each (750, y, x)."""
        shown = self.design.experiment.trial_image_ids(self.number, session)
        rows = np.searchsorted(self.image_ids, shown)
        return self.slabs(version, session, signal[rows], model, self._valid_voxels(session))
