"""What models learn: each module here makes the training set of one kind of targets. A model names
its kind in its attribute ``targets``; new files are found automatically.
"""
