"""From what models predict to pictures: each module here is one way. A model names one in its
attribute ``renderer``; a new file is found by its being there.
"""
