"""Durable work: a queue with leases, and schedules."""
