"""The temporal memory: facts, notes and relations on two time axes."""
