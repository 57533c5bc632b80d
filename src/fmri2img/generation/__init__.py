"""Predicted latents to pictures."""
