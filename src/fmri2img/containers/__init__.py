"""Arrays that travel with their ids, checked once when built, stored as HDF5 without pickle.

Betas are kept as NSD stores them, int16 with 300 units a percent, and handed out as float32 percent
signal change with NaN where a voxel had no valid data in a session. Image ids are 0-based 73k ids
throughout.
"""

from fmri2img.containers.encoding_model import EncodingModel
from fmri2img.containers.examples import Examples
from fmri2img.containers.ids import find_rows
from fmri2img.containers.latents import Latents
from fmri2img.containers.reconstructions import VARIANTS, Reconstructions
from fmri2img.containers.stored import Stored
from fmri2img.containers.targets import DiffusionTargets
from fmri2img.containers.trial_betas import TrialBetas
from fmri2img.containers.true_pictures import TruePictures
from fmri2img.containers.units import UNITS_PER_PERCENT, to_percent, to_stored_units
from fmri2img.containers.voxels import Voxels

__all__ = [
    "UNITS_PER_PERCENT",
    "VARIANTS",
    "DiffusionTargets",
    "EncodingModel",
    "Examples",
    "Latents",
    "Reconstructions",
    "Stored",
    "TrialBetas",
    "TruePictures",
    "Voxels",
    "find_rows",
    "to_percent",
    "to_stored_units",
]
