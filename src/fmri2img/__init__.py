"""Decode seen photographs from 7-tesla fMRI: NSD files, voxels, encoders, pictures, scores."""

__version__ = "0.2.0"
