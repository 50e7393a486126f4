"""The archive: frames that are appended, found again and never changed."""
