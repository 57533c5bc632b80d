"""The simulated NSD: scenes, cortex, encoding model and true-to-format files."""
