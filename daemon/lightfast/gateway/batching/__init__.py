"""Embeddings that go out together, and batches that last."""
