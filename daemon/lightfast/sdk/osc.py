"""The OSC codec for bridges and simulators: `decode` datagrams, `encode` messages."""

from lightfast.core.osc import OscMessage, decode
from lightfast.core.osc_build import encode
from lightfast.core.osc_template import OscError

__all__ = ["OscError", "OscMessage", "decode", "encode"]
