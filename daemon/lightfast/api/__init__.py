"""The wire contract in Python: `v1` is generated from protos/, `values` translates values."""
