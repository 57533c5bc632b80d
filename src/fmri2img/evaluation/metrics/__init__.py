"""Every score of a prediction: its declaration beside the function that computes it, one file a
family. A new file with a ``FAMILY`` is found by its being there.
"""
