"""What is done with the context: applications and links."""
