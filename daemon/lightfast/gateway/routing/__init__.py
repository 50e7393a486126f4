"""Finds who could answer: names, aliases, what models can do, how they do now."""
