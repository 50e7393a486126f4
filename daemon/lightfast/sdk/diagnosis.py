"""What a bridge found between the daemon and its application, for a person."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; *level* is `ok`, `note`, `warning` or `error`.

    *subject* names what was looked at (`UDP port 3819`), *what* says how it stands, *remedy* what to do about it,
    which is empty where nothing is to be done.
    """

    level: str
    subject: str
    what: str
    remedy: str = ""
