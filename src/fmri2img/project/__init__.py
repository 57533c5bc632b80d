"""Shared by all packages: the project's params, paths, files, workers and errors."""
