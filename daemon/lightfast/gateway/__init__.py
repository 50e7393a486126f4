"""AI providers behind one door: the router and the operations."""
