"""Where results come from: the code that a stage can reach, why a stage is stale, and which
results are kept after an edit.
"""
