"""The link over plain TCP on loopback, for applications without pyzmq."""
