"""Prompt templates, compaction, counting of tokens, and windows."""
