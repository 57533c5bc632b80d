"""Voxels for people without raw files: opening, exporting, pushing and pulling them."""

from fmri2img.sharing.voxel_file import VoxelFile, open_voxels

__all__ = ["VoxelFile", "open_voxels"]
