"""The command ``fmri2img``, one file for each group of verbs."""

# How verbs take an encoder of the registry.
ADDRESS = "models:/NAME@champion or models:/NAME/NUMBER, as fmri2img list shows them"
