"""Limits of AI services: counted exactly, reserved before a request, settled after it."""
