"""Sessions with AI services: accounts, their keys, limits, balance and health."""
