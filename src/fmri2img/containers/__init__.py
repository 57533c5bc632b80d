"""Arrays that travel with their ids, checked once when built, stored as HDF5 without pickle.

Betas are kept as the dataset stores them, in units that the container names, and handed out as
float32 with NaN where a voxel had no valid data in a session. Image ids are the dataset's, numbers
or texts.
"""

from fmri2img.containers.encoding_model import EncodingModel
from fmri2img.containers.examples import Examples
from fmri2img.containers.ids import as_ids, find_rows, id_name, id_number
from fmri2img.containers.latents import Latents
from fmri2img.containers.reconstructions import VARIANTS, Reconstructions
from fmri2img.containers.stored import Stored
from fmri2img.containers.targets import DiffusionTargets
from fmri2img.containers.trial_betas import TrialBetas
from fmri2img.containers.true_pictures import TruePictures
from fmri2img.containers.units import PERCENT, Units
from fmri2img.containers.voxels import Voxels

__all__ = [
    "PERCENT",
    "VARIANTS",
    "DiffusionTargets",
    "EncodingModel",
    "Examples",
    "Latents",
    "Reconstructions",
    "Stored",
    "TrialBetas",
    "TruePictures",
    "Units",
    "Voxels",
    "as_ids",
    "find_rows",
    "id_name",
    "id_number",
]
