"""The command ``fmri2img``, one file for each group of verbs."""

# How to name a registered encoder to a verb.
ADDRESS = "models:/NAME@champion or models:/NAME/NUMBER, as fmri2img list shows them"
