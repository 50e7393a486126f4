"""What the providers share: bounded answers, clients that are kept, limits and errors read from answers."""
