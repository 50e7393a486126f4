"""Answers that are kept and given again, and requests under way that are shared."""
