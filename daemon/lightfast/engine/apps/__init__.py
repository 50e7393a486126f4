"""The applications that are joined: identity, wishes, reports, resync."""
