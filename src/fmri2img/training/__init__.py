"""Loops, checkpoints and stopping."""
