"""The stages of the pipeline, one script each: read params, call the library, write outputs."""

from fmri2img.project.threads import pin_threads

# Before any stage imports a numerical library.
pin_threads()
