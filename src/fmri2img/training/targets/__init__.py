"""What models learn: each module here makes the training set of one kind of targets. A model names
one in its attribute ``targets``; a new file is found by its being there.
"""
