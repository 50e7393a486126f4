"""Finds, guards, records and reloads plugins."""
