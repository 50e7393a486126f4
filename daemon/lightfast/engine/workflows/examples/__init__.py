"""Workflows that ship with Lightfast, as YAML files."""
