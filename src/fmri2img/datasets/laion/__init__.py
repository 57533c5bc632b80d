"""LAION-fMRI's files; docs/laion-fmri.md names the source of each fact."""
