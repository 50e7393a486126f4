"""What is said at the entry: why a key was refused, and the welcome."""

from __future__ import annotations

from lightfast.core.ids import new_id
from lightfast_link.frame import Frame

KEY_REFUSED = (
    "the link key is not the one of this daemon: read the file that link_key_file names in the daemon's endpoints.json"
)
KEY_REFUSED_BY_APP = "an application was given another link key than ours, and refused us"


def welcome(version: int, mount: str, position: tuple[str, int], credit: int, acked: int) -> Frame:
    """Return the answer to a `hello`; *position* is the store and its revision, *acked* the last sequence taken."""
    store_id, revision = position
    return Frame(
        "welcome",
        {
            "version": version,
            "session": new_id("link"),
            "mount": mount,
            "revision": revision,
            "store_id": store_id,
            "credit": credit,
            "acked": acked,
            "resync": {"snapshot": True},
        },
    )
