"""Datasets: from raw files to voxels and pictures. One file per dataset; see datasets.protocol."""
