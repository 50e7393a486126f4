"""Runs: one execution of a program each, journaled, approved, taken back."""
