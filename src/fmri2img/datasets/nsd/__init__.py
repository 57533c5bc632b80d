"""NSD files to arrays: the only room that knows paths, layouts, index bases and units on disk."""
