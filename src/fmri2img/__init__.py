"""Decode seen photographs from 7-tesla fMRI: NSD files, voxels, encoders, pictures, scores."""

from fmri2img.project import version

__version__ = version.VERSION
