"""The simulated NSD: scenes, cortex, encoding model and files in NSD's formats."""
