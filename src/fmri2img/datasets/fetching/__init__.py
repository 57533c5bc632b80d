"""Raw files from elsewhere: which ones, from the public bucket or from a copy that is there
already.
"""
