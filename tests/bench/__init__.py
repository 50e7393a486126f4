"""Measures Lightfast against its peers, side by side in one run. Nothing here judges."""
