"""What all stages of the pipeline share: how they start and fail, and what they read."""
