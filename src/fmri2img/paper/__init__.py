"""What goes into a manuscript: methods, tables, figures and references, from the results as they
were.
"""
