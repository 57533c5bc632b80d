"""Decode seen photographs from 7-tesla fMRI: NSD files to voxels, encoders, pictures and honest
numbers.
"""

__version__ = "0.2.0"
