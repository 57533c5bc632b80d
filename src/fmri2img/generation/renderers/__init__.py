"""Ways to turn predictions into pictures, one per module. A model names its renderer in its
attribute ``renderer``; new files are found automatically.
"""
