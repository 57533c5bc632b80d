"""Raw files: which ones are needed, and fetching them from the public bucket or using an existing
copy.
"""
