"""What every stage of the pipeline shares: how it starts, how it fails, what it reads."""
