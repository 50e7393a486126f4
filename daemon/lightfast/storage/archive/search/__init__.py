"""Search over the archive: words to frames, in time order, rebuilt from the frames alone whenever it is lost."""
