"""A living project of an earlier version, brought to today's names and layouts."""
