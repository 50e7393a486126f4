"""Live mappings between two paths."""
