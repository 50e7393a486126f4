"""The edges: each third-party protocol library lives in one room."""
