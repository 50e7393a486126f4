"""The tiers of the context: memory, history, archive."""
