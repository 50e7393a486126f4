"""Scenes: named sets of entries."""
