"""A simulated subject's brain: cortex, encoding model, and betas of a session.

The same settings give the same responses. The ground truth (encoding model, noise-free responses)
is there for tests and teaching; no stage of the pipeline reads it.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed

from fmri2img.datasets.nsd.design import SESSIONS_HELD, UNITS
from fmri2img.datasets.nsd.mapping import map_nearest
from fmri2img.datasets.nsd.paths import (
    STIMULI,
    BetaVersion,
    SubjectFiles,
    on_disk,
    subject_number,
)
from fmri2img.datasets.nsd.stimuli import iterate_images
from fmri2img.datasets.simulation.cortex import (
    Cortex,
    func_to_anat_coordinates,
    func_to_anat_mm,
    grow_cortex,
    locate,
)
from fmri2img.datasets.simulation.label_volumes import CORTICAL_ROIS, anat_labels, func_labels
from fmri2img.datasets.simulation.picture_drives import N_DEEP, picture_drives
from fmri2img.datasets.simulation.scenes import CATEGORIES, describe_scene
from fmri2img.datasets.simulation.trial_noise import draw_noise_sources, session_noise
from fmri2img.datasets.simulation.trial_order import SimulatedDesign, draw_design, shown_images
from fmri2img.datasets.simulation.voxel_responses import (
    VoxelModel,
    draw_voxels,
    make_betas,
    noise_free_responses,
)
from fmri2img.datasets.simulation.worlds import WORLDS, World
from fmri2img.project.nsd_params import SimulatedNsdParams, SimulationParams

_NOISE_ELSEWHERE = 1.2  # SD in voxels that see nothing, percent signal change
_REMEDY = "dvc repro --force --single-item fetch_raw_shared"


@dataclass(frozen=True)
class SimulatedBrain:
    """One simulated subject: cortex, encoding model and responses.

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
    def label_volumes(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
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
        anat, func, _ = self.label_volumes
        mask = np.any([func[roi] > 0 for roi in CORTICAL_ROIS], axis=0)
        mask |= (
            map_nearest(anat["prf-visualrois"], func_to_anat_coordinates(self.cortex), bad_value=-1)
            > 0
        )
        return mask & self.brain_mask

    def voxel_model(self, version: BetaVersion) -> VoxelModel:
        """Return the encoding model of the visual voxels, in C order over (x, y, z)."""
        _, func, _ = self.label_volumes
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
        drives = self.drives(self._pictures)
        model = self.voxel_model(version)
        return noise_free_responses(model, drives, self._categories(), self.world)

    def drives(self, pictures: Callable[[], Iterable[np.ndarray]]) -> np.ndarray:
        """Compute what in pictures drives the cortex, shape (n_images, 31, 289); ``pictures``
        starts to yield them anew with each call.
        """
        jobs = (delayed(picture_drives)(picture) for picture in pictures())
        drives = np.stack(Parallel(n_jobs=-1, prefer="threads", batch_size=8)(jobs))
        if self.world.drive in ("middle layers", "late layers"):
            # Late: it loads a network, which only these worlds need.
            from fmri2img.datasets.simulation.network_drives import network_drives

            drives[:, -N_DEEP:] = network_drives(pictures(), self.world.drive)
        return drives

    def signal_of(
        self, version: BetaVersion, pictures: Callable[[], Iterable[np.ndarray]]
    ) -> np.ndarray:
        """Return noise-free responses to pictures of no category, shape (n_pictures,
        n_visual_voxels), float32, on the scale of `signal`.
        """
        drives = self.drives(self._pictures)
        others = self.drives(pictures)
        categories = np.append(self._categories(), np.full(len(others), -1))
        responses = noise_free_responses(
            self.voxel_model(version),
            np.concatenate([drives, others]),
            categories,
            self.world,
            n_reference=len(drives),
        )
        return responses[len(drives) :]

    def _pictures(self) -> Iterator[np.ndarray]:
        return iterate_images(on_disk(self.root, STIMULI), self.image_ids, remedy=_REMEDY)

    def _categories(self) -> np.ndarray:
        if self.simulation.pictures != "scenes":
            return np.full(len(self.image_ids), -1)
        scenes = (
            describe_scene(self.simulation.seed, int(image_id)) for image_id in self.image_ids
        )
        return np.array([CATEGORIES.index(scene.category) for scene in scenes])

    def slabs(
        self,
        version: BetaVersion,
        session: int,
        signal: np.ndarray,
        model: VoxelModel,
        valid: np.ndarray,
    ) -> Iterator[np.ndarray]:
        """Yield betas of a session in stored units, slab by slab from below.

        Parameters
        ----------
        version : str
        session : int
            Sets noise, gain and offset.
        signal : ndarray, shape (n_trials, n_visual_voxels)
            Noise-free responses.
        model : VoxelModel
        valid : ndarray, shape (x, y, z), bool
            Voxels with data.

        Yields
        ------
        ndarray, shape (n_trials, y, x), int16
        """
        version_number = int(version[1])
        rng = np.random.default_rng(
            [self.simulation.seed, 750, self.number, session, version_number]
        )
        fixed = np.random.default_rng([self.simulation.seed, 751, self.number])
        sources = draw_noise_sources(self.cortex, fixed)
        gain = float(rng.lognormal(0, 0.08))
        offset = rng.normal(0, 0.2, len(model.ncsnr)).astype(np.float32)
        noise_seed = int(rng.integers(1 << 62))
        order = np.full(self.brain_mask.shape, -1)
        order[self.visual_mask] = np.arange(len(model.ncsnr))
        positions = func_to_anat_mm(self.cortex)
        for z in range(self.brain_mask.shape[2]):
            slab = np.zeros((len(signal), *self.brain_mask.shape[:2]), dtype=np.int16)
            inside = valid[:, :, z]
            # All slabs share the noise sources; each draws its own independent part.
            noise = _slab_noise(
                positions[:, :, z][inside], len(signal), sources, noise_seed, z, self.world
            )
            betas = _NOISE_ELSEWHERE * noise
            index = order[:, :, z][inside]
            seeing = index >= 0
            chosen = index[seeing]
            betas[:, seeing] = make_betas(
                signal[:, chosen],
                noise[:, seeing],
                _subset(model, chosen),
                gain=gain,
                offset=offset[chosen],
            )
            slab[:, inside] = UNITS.to_stored(betas)
            yield slab.transpose(0, 2, 1)


def _slab_noise(
    positions_mm: np.ndarray, n_trials: int, sources: np.ndarray, seed: int, z: int, world: World
) -> np.ndarray:
    rng, shared = np.random.default_rng([seed, 2, z]), np.random.default_rng([seed, 1])
    return session_noise(positions_mm, n_trials, rng, sources, shared, world)


def _subset(model: VoxelModel, index: np.ndarray) -> VoxelModel:
    return VoxelModel(**{name: values[index] for name, values in model.__dict__.items()})
