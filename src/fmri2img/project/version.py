"""The version of this package, set by ``scripts/release.py``."""

VERSION = "0.3.0"
