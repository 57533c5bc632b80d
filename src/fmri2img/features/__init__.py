"""Images to regression targets, through frozen networks."""
