"""Flow: who goes first, who waits, and who is asked to come back."""
