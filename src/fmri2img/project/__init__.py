"""What every room stands on: the project's params, paths, files, workers and errors."""
