"""Score images and latents against the truth: pure functions, with sources and chance levels."""
