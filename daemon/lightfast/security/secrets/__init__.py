"""The keys of AI services: where they are, read when they are needed, never shown."""
