"""The semantic layer as a port: another keeper of the memory behind the same calls."""
