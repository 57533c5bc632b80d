"""Arrays that travel with their ids, checked once when built, stored as HDF5 without pickle; their
splits, their averages over repetitions, and what noise leaves of them.

Betas are kept as the dataset stores them, in units that the container names, and handed out as
float32 with NaN where a voxel had no valid data in a session. Image ids are the dataset's, numbers
or texts.
"""
