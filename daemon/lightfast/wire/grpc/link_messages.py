"""Between the messages of links and their records."""

from __future__ import annotations

from lightfast.api.v1 import links_pb2 as pb
from lightfast.core.curves import Curve
from lightfast.engine.links.link import SETTINGS, Link

_PLAIN = tuple(name for name in SETTINGS if name not in {"inputs", "curve"})


def get_link(message: pb.Link) -> Link:
    """Return the record of a message; what the daemon tells is left out."""
    return Link(
        link_id=message.link_id,
        inputs=tuple([(item.name, item.path) for item in message.inputs]),
        curve=_curve(message.curve) if message.HasField("curve") else None,
        **{name: getattr(message, name) for name in _PLAIN},
    )


def put_link(link: Link, etag: str) -> pb.Link:
    """Return the message of a record."""
    message = pb.Link(
        link_id=link.link_id,
        carried=link.carried,
        last_error=link.last_error,
        waiting=link.waiting,
        rate_hz=link.rate_hz,
        etag=etag,
        inputs=[pb.LinkInput(name=name, path=path) for name, path in link.inputs],
        **{name: getattr(link, name) for name in _PLAIN},
    )
    if link.curve is not None:
        message.curve.name, message.curve.parameter = link.curve.name, link.curve.parameter
        message.curve.points.extend([pb.LinkPoint(x=x, y=y) for x, y in link.curve.points])
    return message


def _curve(message: pb.LinkCurve) -> Curve:
    return Curve(message.name, message.parameter, tuple([(point.x, point.y) for point in message.points]))
