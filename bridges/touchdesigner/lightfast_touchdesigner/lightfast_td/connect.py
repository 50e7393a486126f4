"""The way to the daemon: ZMQ where pyzmq is at hand, else plain TCP."""

import importlib
import importlib.util
import os

from lightfast_link.discover import transport as _transport


def zmq_module():
    """Return pyzmq, or `None` where it is not there or does not load; LIGHTFAST_LINK=tcp does without."""
    if os.environ.get("LIGHTFAST_LINK") == "tcp" or importlib.util.find_spec("zmq") is None:
        return None
    try:
        zmq = importlib.import_module("zmq")
    except ImportError:
        return None
    return zmq if zmq.has("curve") else None


def transport(home):
    """Return what finds the daemon anew at each attempt; it does not touch `td`."""
    return _transport(home or None, zmq_module())
