"""Images and latents against the truth: pure functions, each with its source and chance level."""
