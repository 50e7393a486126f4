"""Clusters of frames and relations between them, found in the background: a layer of its own that can be left out."""
