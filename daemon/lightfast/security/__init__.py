"""Who may enter: tokens, scopes, keys."""
