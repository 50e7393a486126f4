"""Private frames: sealed in three layers with keys from a secret that only the user knows."""
