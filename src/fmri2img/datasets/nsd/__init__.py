"""NSD files to arrays; only this package knows paths, layouts, index bases and units on disk."""
