"""The shared tree: entries, the store, the feed of changes, leases, undo."""
