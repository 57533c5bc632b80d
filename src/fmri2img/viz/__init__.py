"""Turn numbers into figures and pages; nothing is fitted here."""
