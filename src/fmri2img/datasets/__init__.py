"""Datasets: from raw files to voxels and pictures. One file a dataset; see datasets.protocol."""
