"""The collector, and what is purged."""
