"""The files of an experiment in a folder (`fmri2img.datasets.folder_dataset`)."""
