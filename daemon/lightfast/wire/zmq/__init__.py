"""The ZMQ doors: ROUTER for applications, PUB for local subscribers."""
