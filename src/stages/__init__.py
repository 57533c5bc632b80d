"""The stages of the pipeline, one script each: read params, call the library, write outputs."""
