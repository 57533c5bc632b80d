"""Scores of predictions: one file per family, with its declarations and the function that computes
them. A new file that defines ``FAMILY`` is found automatically.
"""
