"""Worlds: kinds of simulated brains, each of which breaks an assumption that an encoder may make.

They were fixed before any encoder was run on them. No default of an encoder is chosen on
subjects who are judged in them; for choosing, there is the subject `FOR_CHOOSING`.
"""

from dataclasses import dataclass, field
from typing import Literal

Drive = Literal["filters", "random network", "middle layers", "late layers"]
FOR_CHOOSING = "subj08"


@dataclass(frozen=True, kw_only=True)
class World:
    """How the voxels of a world respond, and what noise they have.

    Attributes
    ----------
    title : str
        What is special about it, in a few words.
    drive : str
        What drives the voxels: ``filters`` and, to the share that ``simulation.deep_share`` sets,
        the random network; or a network alone, a random one or layers of EfficientNet-Lite0.
    is_local : bool
        Whether a voxel sees one place in the picture, or sums places scattered over all of it.
    exponent, threshold : float
        The response is what of the drive, in SDs from its mean, exceeds the threshold, to the power
        of the exponent; with exponent 1 and no threshold it is the drive itself.
    category_share : float or None
        Share of the responses' variance that the category of the scene explains in every voxel;
        None for shares that grow from area to area.
    shared_noise : float
        Share of the noise's variance that voxels have in common.
    drift : float
        Share of the noise's variance that drifts within runs, and from run to run.
    tail : float
        How far the noise's tails exceed those of a Gaussian: the cubic term of a Gaussian variable.
    silent, dead : float
        Share of voxels that respond to no picture, and of those without signal and noise.
    sessions : tuple of int
        If not empty: the sessions that a benchmark simulates.
    voxels : float
        A benchmark simulates this many times as many voxels.
    """

    title: str
    drive: Drive = "filters"
    is_local: bool = True
    exponent: float = 1.0
    threshold: float | None = None
    category_share: float | None = None
    shared_noise: float = 0.2
    drift: float = 0.06
    tail: float = 0.04
    silent: float = 0.004
    dead: float = 0.001
    sessions: tuple[int, ...] = field(default=())
    voxels: float = 1.0


STANDARD = "standard"
WORLDS = {
    STANDARD: World(title="the simulated cortex as it is"),
    "no_locality": World(title="voxels sum places all over the picture", is_local=False),
    "compressive": World(
        title="responses grow with the root of the drive", exponent=0.5, threshold=-3.0
    ),
    "rectified": World(
        title="responses grow with the square of what exceeds a threshold",
        exponent=2.0,
        threshold=0.3,
    ),
    "shared_noise": World(title="voxels share half of their noise", shared_noise=0.5),
    "category": World(
        title="voxels respond to the category of the scene alone", category_share=1.0
    ),
    "random_network": World(
        title="a random convolutional network drives the voxels", drive="random network"
    ),
    "middle_layers": World(
        title="a middle layer of EfficientNet-Lite0 drives the voxels", drive="middle layers"
    ),
    "late_layers": World(
        title="a late layer of EfficientNet-Lite0 drives the voxels", drive="late layers"
    ),
    "rough_noise": World(
        title="heavy tails, strong drift, and one dead voxel in twenty",
        drift=0.3,
        tail=0.12,
        silent=0.1,
        dead=0.05,
    ),
    "few_images": World(title="one session", sessions=(1,)),
    "many_voxels": World(title="four times as many voxels", voxels=4.0),
}
