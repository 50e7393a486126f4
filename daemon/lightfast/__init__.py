"""Lightfast: one shared, revisioned memory for every creative application on the desk."""

__version__ = "0.1.0"
