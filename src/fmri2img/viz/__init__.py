"""Numbers to figures and pages; nothing is fitted here."""
