"""Views: the context as one consumer needs it."""
