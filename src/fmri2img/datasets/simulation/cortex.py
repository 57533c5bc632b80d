"""A simulated visual cortex: a folded ribbon with retinotopic areas, and the warp between anatomy
and function.

The cortex is a folded shell inside an ellipsoid. Around a foveal point of each hemisphere, areas
fan out as sectors: V1 in the middle, V2, V3 and hV4 beyond it. Dorsal areas hold the lower visual
field. Eccentricity grows with the distance from the foveal point. Polar angle sweeps back and forth
across areas and reverses at their borders, as in human cortex (Wandell, Dumoulin & Brewer 2007,
doi:10.1016/j.neuron.2007.10.012). Everything is defined at points in anatomical millimetres, so
anatomical and functional volumes are two samplings of one cortex.
"""

from dataclasses import dataclass

import numpy as np

from fmri2img.datasets.nsd.volumes import slab_centre_affine
from fmri2img.project.config import PARAMS_PATH
from fmri2img.project.exceptions import ConfigError

ANAT_VOXEL_MM, ANAT_SIDE = 0.8, 320
# Value of the code 9999 in the anat0pt8-to-func files: (9999 - 0.5) / 0.8 + 0.5.
INVALID_COORDINATE = 12498.625
# Grid (x, y, z) of each subject in func1pt8mm and func1mm (NSD manual, technical notes).
FUNC_SHAPES = {
    "func1pt8mm": (
        (81, 104, 83),
        (82, 106, 84),
        (81, 106, 82),
        (85, 99, 80),
        (79, 97, 78),
        (85, 113, 83),
        (78, 95, 81),
        (80, 103, 78),
    ),
    "func1mm": (
        (145, 186, 148),
        (146, 190, 150),
        (145, 190, 146),
        (152, 177, 143),
        (141, 173, 139),
        (152, 202, 148),
        (139, 170, 145),
        (143, 184, 139),
    ),
}
# Sectors of the fan in degrees around the foveal point, 0 towards the midline, dorsal positive.
_SECTORS = {
    1: (-36, 0),
    2: (0, 36),
    3: (-74, -36),
    4: (36, 74),
    5: (-105, -74),
    6: (74, 105),
    7: (-141, -105),
}
# Elevation in the visual field at the two ends of a sector; dorsal areas hold the lower field.
_ELEVATIONS = {
    1: (90, 0),
    2: (0, -90),
    3: (0, 90),
    4: (-90, 0),
    5: (90, 0),
    6: (0, -90),
    7: (-90, 90),
}
# Category patches as (distance in units of the fan, sector angle); labels 1, 2, ... in this order.
_PATCHES = {
    "floc-faces": ((0.8, 170), (1.15, -120), (1.4, -115), (1.65, -110), (1.85, -105)),
    "floc-bodies": ((0.9, 155), (1.2, -135), (1.45, -130), (1.7, -125)),
    "floc-places": ((1.1, 120), (1.25, -95), (1.5, -70)),
    "floc-words": ((0.85, -160), (1.2, -150), (1.45, -148), (1.7, -142), (1.9, -135)),
}
_PATCH_RADIUS = 0.16
# Degrees at the rim of the retinotopic areas; NSD's pictures reach 4.2, so that some receptive
# fields lie outside.
_MAX_ECCENTRICITY = 5.5
_MIDDLE = 0.84  # of the ribbon, in semi-axes of the brain
NSDGENERAL_RADIUS = 1.25  # in units of the fan
_LARGEST_FAN = 1.3  # radians; a larger one would wrap around the brain


@dataclass(frozen=True)
class Cortex:
    """One subject's cortex.

    Attributes
    ----------
    subject_number : int
    anat_shape, func_shape : tuple of int
        Grids (x, y, z).
    func_voxel_mm : float
        1.8 or 1.
    semi_axes : ndarray, shape (3,)
        Half the brain's length along each axis, in millimetres.
    fold_waves : ndarray, shape (n_waves, 3)
        Spatial frequencies of the folds over directions.
    fold_phases : ndarray, shape (n_waves,)
    rotation : ndarray, shape (3, 3)
        Functional to anatomical axes.
    shift_mm : ndarray, shape (3,)
    warp_phases : ndarray, shape (3, 2)
    fan_radius : float
        Extent of the retinotopic areas, radians on the sphere.
    """

    subject_number: int
    anat_shape: tuple[int, int, int]
    func_shape: tuple[int, int, int]
    func_voxel_mm: float
    semi_axes: np.ndarray
    fold_waves: np.ndarray
    fold_phases: np.ndarray
    rotation: np.ndarray
    shift_mm: np.ndarray
    warp_phases: np.ndarray
    fan_radius: float


@dataclass(frozen=True)
class CorticalPoints:
    """Where points lie on the cortex; every array has shape (n_points,).

    Attributes
    ----------
    is_brain, is_cortex, is_left : ndarray of bool
    fan_distance : ndarray
        Distance from the foveal point, 1 at the rim of the retinotopic areas.
    fan_angle : ndarray
        Degrees around the foveal point.
    """

    is_brain: np.ndarray
    is_cortex: np.ndarray
    is_left: np.ndarray
    fan_distance: np.ndarray
    fan_angle: np.ndarray


def grow_cortex(
    subject_number: int, *, func_space: str, volume_scale: float, n_visual_voxels: int, seed: int
) -> Cortex:
    """Draw a subject's cortex.

    Parameters
    ----------
    subject_number : int
        1 to 8; sets the grid.
    func_space : str
        ``func1pt8mm`` or ``func1mm``.
    volume_scale : float
        1 for the real grids; smaller values shrink head and grids alike.
    n_visual_voxels : int
        Approximate number of functional voxels in the retinotopic areas.
    seed : int

    Returns
    -------
    Cortex
    """
    rng = np.random.default_rng([seed, 320, subject_number])
    nx, ny, nz = (
        max(8, round(volume_scale * n)) for n in FUNC_SHAPES[func_space][subject_number - 1]
    )
    voxel_mm = {"func1pt8mm": 1.8, "func1mm": 1.0}[func_space]
    waves = rng.standard_normal((6, 3))
    cortex = Cortex(
        subject_number=subject_number,
        anat_shape=(max(16, round(volume_scale * ANAT_SIDE)),) * 3,
        func_shape=(nx, ny, nz),
        func_voxel_mm=voxel_mm,
        semi_axes=np.array([nx, ny, nz]) * voxel_mm / 2 * np.array([0.88, 0.88, 0.86]),
        fold_waves=9 * waves / np.linalg.norm(waves, axis=1, keepdims=True),
        fold_phases=rng.uniform(0, 2 * np.pi, 6),
        rotation=_small_rotation(rng),
        shift_mm=volume_scale * rng.normal(0, 2, 3),
        warp_phases=rng.uniform(0, 2 * np.pi, (3, 2)),
        fan_radius=1.0,
    )
    return _with_fan_radius(cortex, n_visual_voxels)


def _small_rotation(rng: np.random.Generator) -> np.ndarray:
    a, b, c = rng.normal(0, np.deg2rad(3), 3)
    skew = np.array([[0, -c, b], [c, 0, -a], [-b, a, 0]])
    orthogonal, _ = np.linalg.qr(np.eye(3) + skew)
    return orthogonal * np.sign(np.diag(orthogonal))


def _with_fan_radius(cortex: Cortex, n_visual_voxels: int) -> Cortex:
    """Choose the radius that holds the wanted number of functional voxels within the seven
    sectors.

    Raises
    ------
    ConfigError
        If they hold fewer.
    """
    points = locate(cortex, func_to_anat_mm(cortex).reshape(-1, 3))
    in_fan = points.is_cortex & (points.fan_angle >= -141) & (points.fan_angle < 105)
    radii = np.sort(points.fan_distance[in_fan])
    n_held = int((radii <= _LARGEST_FAN).sum())
    if n_visual_voxels > n_held:
        raise ConfigError(
            f"{PARAMS_PATH}: datasets.simulated.simulation: got n_visual_voxels {n_visual_voxels}, "
            f"but the visual areas of a brain of this volume_scale hold {n_held}; lower it, or "
            "raise volume_scale"
        )
    return Cortex(**{**cortex.__dict__, "fan_radius": float(radii[n_visual_voxels - 1])})


def grid_mm(shape: tuple[int, ...], voxel_mm: float) -> np.ndarray:
    """Return the position of every voxel of a slab-centred grid, shape (x, y, z, 3),
    millimetres.
    """
    offset = slab_centre_affine(shape, voxel_mm)[:3, 3]
    axes = [np.arange(n) * voxel_mm + start for n, start in zip(shape, offset, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def func_to_anat_mm(cortex: Cortex) -> np.ndarray:
    """Return the anatomical position of every functional voxel, shape (x, y, z, 3): rotation,
    shift and a smooth warp.
    """
    position = grid_mm(cortex.func_shape, cortex.func_voxel_mm)
    extent = cortex.semi_axes.mean()
    amplitude = 0.02 * extent
    phases = position / extent  # radians
    warp = [
        amplitude
        * np.sin(2 * phases[..., (axis + 1) % 3] + first)
        * np.cos(phases[..., (axis + 2) % 3] + second)
        for axis, (first, second) in enumerate(cortex.warp_phases)
    ]
    return position @ cortex.rotation.T + cortex.shift_mm + np.stack(warp, axis=-1)


def func_to_anat_coordinates(cortex: Cortex) -> np.ndarray:
    """Return NSD's ``anat0pt8-to-func`` transform, shape (x, y, z, 3), float32.

    1-based coordinates into the anatomical volume; voxels far outside the head carry the shifted
    "no data" code.
    """
    position = func_to_anat_mm(cortex)
    size = np.asarray(cortex.anat_shape)
    coordinates = position / ANAT_VOXEL_MM + (size + 1) / 2
    far = np.linalg.norm(position / cortex.semi_axes, axis=-1) > 1.55
    outside = np.any((coordinates < 1) | (coordinates > size), axis=-1)
    coordinates[far | outside] = INVALID_COORDINATE
    return coordinates.astype(np.float32)


def ribbon_mm(cortex: Cortex, directions: np.ndarray, depth_mm: float) -> np.ndarray:
    """Return the anatomical positions (n, 3) in the cortical ribbon that lie in directions (n, 3)
    from the brain's centre, in units of its semi-axes, so far outwards from the middle of the
    ribbon.
    """
    radius = _MIDDLE + _folds(cortex, directions) + depth_mm / cortex.semi_axes.mean()
    return directions * radius[:, None] * cortex.semi_axes


def _folds(cortex: Cortex, directions: np.ndarray) -> np.ndarray:
    """Return how far the folded ribbon lies outwards of the ellipsoid, shape (n,)."""
    waves: np.ndarray = np.cos(directions @ cortex.fold_waves.T + cortex.fold_phases).sum(axis=1)
    return 0.03 * waves


def locate(cortex: Cortex, position_mm: np.ndarray) -> CorticalPoints:
    """Find where anatomical points lie on the cortex.

    Parameters
    ----------
    cortex : Cortex
    position_mm : ndarray, shape (n_points, 3)

    Returns
    -------
    CorticalPoints
    """
    scaled = position_mm / cortex.semi_axes
    radius = np.linalg.norm(scaled, axis=1)
    direction = scaled / np.maximum(radius, 1e-9)[:, None]
    depth_mm = (radius - _MIDDLE - _folds(cortex, direction)) * cortex.semi_axes.mean()
    is_left = position_mm[:, 0] < 0
    distance, angle = _fan_coordinates(direction, is_left)
    return CorticalPoints(
        # A liberal mask: the ribbon and 1.5 mm around it belong to it even in a very small head.
        is_brain=(radius < 1.06) | (np.abs(depth_mm) < 3.2),
        is_cortex=np.abs(depth_mm) < 1.7,  # a ribbon of 3.4 mm, at the thick end of human cortex
        is_left=is_left,
        fan_distance=distance / cortex.fan_radius,
        fan_angle=angle,
    )


def _fan_coordinates(direction: np.ndarray, is_left: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return distance (radians) and angle (degrees) around the foveal point of each point's own
    hemisphere.
    """
    mirrored = direction.copy()
    mirrored[is_left, 0] *= -1  # left onto right
    fovea = np.array([0.8, -0.6, -0.05])
    fovea /= np.linalg.norm(fovea)
    medial = np.array([-1.0, 0, 0]) + fovea * fovea[0]
    medial /= np.linalg.norm(medial)
    dorsal = np.cross(medial, fovea)
    distance = np.arccos(np.clip(mirrored @ fovea, -1, 1))
    return distance, np.degrees(np.arctan2(mirrored @ dorsal, mirrored @ medial))


def label_points(points: CorticalPoints, roi: str) -> np.ndarray:
    """Label points by one ROI, shape (n_points,), int16: -1 not cortex, 0 unlabelled, 1..N."""
    labels = np.zeros(len(points.is_cortex), dtype=np.int16)
    near, angle = points.fan_distance, points.fan_angle
    if roi == "prf-visualrois":
        for label, (low, high) in _SECTORS.items():
            labels[(near < 1) & (angle >= low) & (angle < high)] = label
    elif roi == "prf-eccrois":
        mapped = (near < 1) & (angle >= -141) & (angle < 105)
        labels[mapped] = 1 + np.digitize(eccentricity(near[mapped]), (0.5, 1, 2, 4))
    elif roi == "nsdgeneral":
        labels[near < NSDGENERAL_RADIUS] = 1
    elif roi == "streams":
        _label_streams(labels, near, angle)
    else:
        for label, (distance, centre) in enumerate(_PATCHES[roi], start=1):
            across = np.deg2rad((angle - centre + 180) % 360 - 180) * distance
            labels[np.hypot(near - distance, across) < _PATCH_RADIUS] = label
    labels[~points.is_cortex] = -1
    return labels


def _label_streams(labels: np.ndarray, near: np.ndarray, angle: np.ndarray) -> None:
    inner, outer = near < 1, (near >= 1) & (near < 1.8)
    labels[inner & (np.abs(angle) < 105)] = 1
    labels[inner & (angle <= -105) & (angle > -150)] = 2
    labels[inner & (np.abs(angle) >= 150)] = 3
    labels[inner & (angle >= 105) & (angle < 150)] = 4
    labels[outer & (angle <= -60) & (angle > -150)] = 5
    labels[outer & (np.abs(angle) >= 150)] = 6
    labels[outer & (angle >= 60) & (angle < 150)] = 7


def eccentricity(fan_distance: np.ndarray) -> np.ndarray:
    """Return eccentricity in degrees of visual angle, in the shape given: exponential in cortical
    distance (magnification).
    """
    return 0.1 + (_MAX_ECCENTRICITY - 0.1) * np.expm1(2 * np.clip(fan_distance, 0, 1.3)) / np.expm1(
        2
    )


def receptive_field_centres(points: CorticalPoints, labels: np.ndarray) -> np.ndarray:
    """Return the preferred position of each point, shape (n_points, 2), degrees right and up of
    fixation.

    Parameters
    ----------
    points : CorticalPoints
    labels : ndarray, shape (n_points,)
        prf-visualrois labels; other points get a position from their angle alone.
    """
    elevation = np.clip(points.fan_angle / 2, -90, 90)
    for label, (low, high) in _SECTORS.items():
        start, end = _ELEVATIONS[label]
        here = labels == label
        share = np.clip((points.fan_angle[here] - low) / (high - low), 0, 1)
        elevation[here] = start + share * (end - start)
    distance = eccentricity(points.fan_distance)
    side = np.where(points.is_left, 1, -1)  # the left hemisphere sees the right half of the field
    radians = np.deg2rad(elevation)
    return np.stack([side * distance * np.cos(radians), distance * np.sin(radians)], axis=1)
