"""The simulated experiment of one subject, and its files.

The same settings give the same bytes. `SimulatedSubject` also gives the ground truth (encoding
model, noise-free responses) to tests and teaching; no stage of the pipeline reads it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

import h5py
import numpy as np
from joblib import Parallel, delayed

from fmri2img.datasets.marks import MARK
from fmri2img.datasets.nsd.design import (
    RUNS_PER_SESSION,
    SESSIONS_HELD,
    TR_SECONDS,
    TRIALS_PER_SESSION,
    UNITS,
    rest_runs_shift,
)
from fmri2img.datasets.nsd.mapping import map_nearest
from fmri2img.datasets.nsd.paths import (
    STIMULI,
    BetaVersion,
    SubjectFiles,
    on_disk,
    subject_number,
    template_label_table,
)
from fmri2img.datasets.nsd.rois import LABEL_NAMES
from fmri2img.datasets.nsd.stimuli import iterate_images
from fmri2img.datasets.nsd.volumes import write_volume
from fmri2img.datasets.simulation import raw_formats as writers
from fmri2img.datasets.simulation.cortex import (
    ANAT_VOXEL_MM,
    Cortex,
    func_to_anat_coordinates,
    func_to_anat_mm,
    grow_cortex,
    locate,
)
from fmri2img.datasets.simulation.label_volumes import (
    CORTICAL_ROIS,
    SIMULATED_ROIS,
    anat_labels,
    func_labels,
    split_hemispheres,
)
from fmri2img.datasets.simulation.picture_drives import N_DEEP, picture_drives
from fmri2img.datasets.simulation.scenes import CATEGORIES, describe_scene
from fmri2img.datasets.simulation.stimuli_files import write_pictures
from fmri2img.datasets.simulation.trial_noise import draw_noise_sources, session_noise
from fmri2img.datasets.simulation.trial_order import (
    SimulatedDesign,
    draw_design,
    responses_table,
    shown_images,
)
from fmri2img.datasets.simulation.voxel_responses import (
    VoxelModel,
    draw_voxels,
    make_betas,
    noise_free_responses,
    simulate_run,
)
from fmri2img.datasets.simulation.worlds import WORLDS, World
from fmri2img.project.config import SimulatedNsdParams, SimulationParams

_NOISE_ELSEWHERE = 1.2  # SD in voxels that see nothing, percent signal change
_REMEDY = "dvc repro --force --single-item fetch_raw_shared"


@dataclass(frozen=True)
class SimulatedSubject:
    """One simulated subject: cortex, encoding model and the files made from them.

    Attributes
    ----------
    subject : str
        ``subj01`` to ``subj08``.
    nsd : SimulatedNsdParams
    root : Path
        NSD root that already holds the shared files.
    """

    subject: str
    nsd: SimulatedNsdParams
    root: Path = field(repr=False)

    @property
    def simulation(self) -> SimulationParams:
        """Size and seed of the simulation."""
        return self.nsd.simulation

    @property
    def world(self) -> World:
        """How voxels respond, and what noise they have."""
        return WORLDS[self.simulation.world]

    @property
    def number(self) -> int:
        """Number of the subject, 1 to 8."""
        return subject_number(self.subject)

    @property
    def files(self) -> SubjectFiles:
        """Paths of this subject's files."""
        return SubjectFiles(self.subject, self.nsd.func_space)

    @property
    def sessions(self) -> list[int]:
        """Session numbers, from 1."""
        return self.nsd.sessions_of(self.subject, SESSIONS_HELD[self.number - 1])

    @cached_property
    def design(self) -> SimulatedDesign:
        """The design shared by all subjects."""
        return draw_design(self.simulation.seed)

    @cached_property
    def cortex(self) -> Cortex:
        """Geometry of the cortex."""
        return grow_cortex(
            self.number,
            func_space=self.nsd.func_space,
            volume_scale=self.simulation.volume_scale,
            n_visual_voxels=self.simulation.n_visual_voxels,
            seed=self.simulation.seed,
        )

    @cached_property
    def image_ids(self) -> np.ndarray:
        """0-based 73k ids of the images shown, ascending, shape (n_images,)."""
        return np.unique(shown_images(self.design.experiment, self.number, self.sessions))

    @cached_property
    def _volumes(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
        """Anatomical labels, functional labels and the anatomical left half."""
        anat, is_left = anat_labels(self.cortex)
        coordinates = func_to_anat_coordinates(self.cortex)
        return (
            anat,
            {roi: func_labels(volume, coordinates) for roi, volume in anat.items()},
            is_left,
        )

    @cached_property
    def brain_mask(self) -> np.ndarray:
        """Liberal brain mask, shape (x, y, z), bool."""
        points = locate(self.cortex, func_to_anat_mm(self.cortex).reshape(-1, 3))
        return points.is_brain.reshape(self.cortex.func_shape)

    @cached_property
    def visual_mask(self) -> np.ndarray:
        """Voxels that respond to pictures, shape (x, y, z), bool: every ROI on the cortex, however
        it is brought to functional space.
        """
        anat, func, _ = self._volumes
        mask = np.any([func[roi] > 0 for roi in CORTICAL_ROIS], axis=0)
        mask |= (
            map_nearest(anat["prf-visualrois"], func_to_anat_coordinates(self.cortex), bad_value=-1)
            > 0
        )
        return mask & self.brain_mask

    def voxel_model(self, version: BetaVersion) -> VoxelModel:
        """Return the encoding model of the visual voxels, in C order over (x, y, z)."""
        _, func, _ = self._volumes
        points = locate(self.cortex, func_to_anat_mm(self.cortex)[self.visual_mask])
        rng = np.random.default_rng([self.simulation.seed, 11, self.number])
        return draw_voxels(
            points,
            func["prf-visualrois"][self.visual_mask],
            self.number,
            version=version,
            world=self.world,
            deep_share=self.simulation.deep_share,
            rng=rng,
        )

    def signal(self, version: BetaVersion) -> np.ndarray:
        """Return noise-free responses, mean 0 and SD 1 over images, shape (n_images,
        n_visual_voxels), float32.
        """
        jobs = (delayed(picture_drives)(picture) for picture in self._pictures())
        drives = np.stack(Parallel(n_jobs=-1, prefer="threads", batch_size=8)(jobs))
        if self.world.drive in ("middle layers", "late layers"):
            # Late: it loads a network, which only these worlds need.
            from fmri2img.datasets.simulation.network_drives import network_drives

            drives[:, -N_DEEP:] = network_drives(self._pictures(), self.world.drive)
        model = self.voxel_model(version)
        return noise_free_responses(model, drives, self._categories(), self.world)

    def _pictures(self) -> Iterator[np.ndarray]:
        return iterate_images(on_disk(self.root, STIMULI), self.image_ids, remedy=_REMEDY)

    def _categories(self) -> np.ndarray:
        if self.simulation.pictures != "scenes":
            return np.full(len(self.image_ids), -1)
        scenes = (
            describe_scene(self.simulation.seed, int(image_id)) for image_id in self.image_ids
        )
        return np.array([CATEGORIES.index(scene.category) for scene in scenes])

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
        anat, func, is_left = self._volumes
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
        version_number = int(version[1])
        rng = np.random.default_rng(
            [self.simulation.seed, 750, self.number, session, version_number]
        )
        fixed = np.random.default_rng([self.simulation.seed, 751, self.number])
        sources = draw_noise_sources(self.cortex, fixed)
        gain = float(rng.lognormal(0, 0.08))
        shown = self.design.experiment.trial_image_ids(self.number, session)
        rows = np.searchsorted(self.image_ids, shown)
        offset = rng.normal(0, 0.2, len(model.ncsnr)).astype(np.float32)
        noise_seed = int(rng.integers(1 << 62))
        valid = self._valid_voxels(session)
        order = np.full(self.brain_mask.shape, -1)
        order[self.visual_mask] = np.arange(len(model.ncsnr))
        positions = func_to_anat_mm(self.cortex)
        for z in range(self.brain_mask.shape[2]):
            slab = np.zeros((TRIALS_PER_SESSION, *self.brain_mask.shape[:2]), dtype=np.int16)
            inside = valid[:, :, z]
            # All slabs share the noise sources; each draws its own independent part.
            noise = _slab_noise(positions[:, :, z][inside], sources, noise_seed, z, self.world)
            betas = _NOISE_ELSEWHERE * noise
            index = order[:, :, z][inside]
            seeing = index >= 0
            chosen = index[seeing]
            betas[:, seeing] = make_betas(
                signal[rows][:, chosen],
                noise[:, seeing],
                _subset(model, chosen),
                gain=gain,
                offset=offset[chosen],
            )
            slab[:, inside] = UNITS.to_stored(betas)
            yield slab.transpose(0, 2, 1)


def _slab_noise(
    positions_mm: np.ndarray, sources: np.ndarray, seed: int, z: int, world: World
) -> np.ndarray:
    rng, shared = np.random.default_rng([seed, 2, z]), np.random.default_rng([seed, 1])
    return session_noise(positions_mm, TRIALS_PER_SESSION, rng, sources, shared, world)


def _subset(model: VoxelModel, index: np.ndarray) -> VoxelModel:
    return VoxelModel(**{name: values[index] for name, values in model.__dict__.items()})
