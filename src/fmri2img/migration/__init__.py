"""Migrate a project of an earlier version to today's names and layouts."""
