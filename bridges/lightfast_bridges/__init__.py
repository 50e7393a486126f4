"""The daemon's half of each bridge, and its simulator."""
