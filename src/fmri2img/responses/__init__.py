"""Trial responses: noise ceilings, repetition averages and splits (NumPy only)."""
