"""One unit of work over SQLite, and immutable blobs."""
