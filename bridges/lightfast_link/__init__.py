"""Paths, values, frames and the link protocol: standard library only, Python 3.10 syntax."""
