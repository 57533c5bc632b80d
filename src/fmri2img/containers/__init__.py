"""Arrays kept together with their ids, checked once when built and stored as HDF5 without pickle;
their splits, averages over repetitions and noise ceilings.

Betas are kept as the dataset stores them, in units that the container names, and returned as
float32 with NaN where a voxel had no valid data in a session. Image ids are the dataset's, numbers
or texts.
"""
