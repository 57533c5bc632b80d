"""Encoders: betas in percent signal change to latents. One file a model; see models.registry."""
