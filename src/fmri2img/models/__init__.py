"""Encoders: betas in percent signal change to latents. One file per model; see models.registry."""
