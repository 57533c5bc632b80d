"""The command ``fmri2img``, one file for each group of verbs."""
