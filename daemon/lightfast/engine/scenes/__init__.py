"""Recalling scenes: what would change, the way there, and whether the applications hold it."""
