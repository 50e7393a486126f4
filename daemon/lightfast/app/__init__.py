"""The composition of the daemon, and its command line."""
