"""The show room: the lock that keeps a running show from changing under itself, and the panic that stops it."""
