"""From an intent to a checked program."""
