"""How significant a frame is, in six dimensions: a layer of its own that can be left out or deleted."""
