"""Signs of encoders that are better or worse than ridge, in tables, figures and the terminal."""

BETTER, WORSE = "▲", "▼"
SIGNS = {"better": BETTER, "worse": WORSE}  # ties have none
