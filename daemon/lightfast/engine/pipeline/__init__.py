"""Fetch, decode, execute, write back."""
