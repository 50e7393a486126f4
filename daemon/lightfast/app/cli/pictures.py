"""Pictures in the terminal, where it can show them: the protocols of kitty and iTerm2.

kitty: https://sw.kovidgoyal.net/kitty/graphics-protocol (PNG, in base64 pieces of at most 4096 bytes);
iTerm2: https://iterm2.com/documentation-images.html (any picture, in one piece). A terminal that asks for neither by
its environment gets nothing: what it does not know it would print.
"""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Iterator, Mapping
from typing import TextIO

MOST = 8 << 20
"""A larger picture is not shown, in bytes."""
_PIECE = 4096
_ITERM = frozenset(("iTerm.app", "WezTerm", "mintty"))


def protocol(environment: Mapping[str, str], *, is_terminal: bool) -> str:
    """Return `kitty`, `iterm` or an empty text."""
    if not is_terminal or "TMUX" in environment or environment.get("TERM") == "dumb":
        return ""
    if environment.get("KITTY_WINDOW_ID") or environment.get("TERM_PROGRAM") == "ghostty":
        return "kitty"
    return "iterm" if environment.get("TERM_PROGRAM") in _ITERM else ""


def codes(content: bytes, media_type: str, way: str) -> Iterator[str]:
    """Yield what is written to show a picture; nothing where it cannot be shown *way*."""
    if len(content) > MOST or not media_type.startswith("image/"):
        return
    data = base64.b64encode(content).decode("ascii")
    if way == "iterm":
        yield f"\x1b]1337;File=inline=1;size={len(content)};preserveAspectRatio=1:{data}\x07\n"
    elif way == "kitty" and media_type == "image/png":
        for start in range(0, len(data), _PIECE):
            more = int(start + _PIECE < len(data))
            head = f"a=T,f=100,m={more}" if start == 0 else f"m={more}"
            yield f"\x1b_G{head};{data[start : start + _PIECE]}\x1b\\"
        yield "\n"


def show(content: bytes, media_type: str, stream: TextIO | None = None) -> bool:
    """Show a picture on the terminal that *stream* (usually stdout) is; say whether it was shown."""
    out = stream or sys.stdout
    shown = False
    for code in codes(content, media_type, protocol(os.environ, is_terminal=out.isatty())):
        out.write(code)
        shown = True
    if shown:
        out.flush()
    return shown


def can_show() -> bool:
    """Say whether the terminal of stdout can show pictures."""
    return bool(protocol(os.environ, is_terminal=sys.stdout.isatty()))
