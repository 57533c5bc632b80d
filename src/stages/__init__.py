"""The stages of the pipeline, one script each: read params, call the library, write outputs."""

from fmri2img.project.threads import pin_threads

# Before any of them imports what computes.
pin_threads()
