"""OSCQuery: the tree for browsers of OSC, over HTTP, WebSocket and UDP. Off by default, and read-only unless told."""
