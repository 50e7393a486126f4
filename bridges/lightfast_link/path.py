"""Paths of the context tree, and patterns over them.

A path is an OSC address: `/` for the root, else `/segment/segment…`. A name that an
application gives becomes one segment by `encode_segment`, reversibly. A pattern is a path
with the wildcards of OSC 1.0 (`?`, `*`, `[a-z]`, `[!a]`, `{one,two}`) inside a segment, and
`//` of OSC 1.1 for any depth: `//` alone is everything, `/blender//` is `/blender` and all
below it, `//tempo` is every path that ends in `tempo`.
"""

from __future__ import annotations

import functools
import re

MAX_PATH_BYTES = 1024
"""The longest path, in bytes of UTF-8."""

_RESERVED = "%#*,/?[]{} "
_ESCAPED = re.compile(r"%([0-9A-Fa-f]{2})")
_BAD_IN_PATH = re.compile(r"[\x00-\x20\x7f#*,?\[\]{}]")
_WILD = re.compile(r"[?*\[\]{}]")


def encode_segment(name: str) -> str:
    """Return *name* as one path segment.

    Reserved and control characters become `%XX` of their UTF-8 bytes; the empty name becomes `%`.

    >>> encode_segment("Cube 1/2")
    'Cube%201%2F2'
    """
    if not name:
        return "%"
    return "".join(
        "".join("%%%02X" % byte for byte in char.encode("utf-8"))
        if char in _RESERVED or ord(char) < 32 or ord(char) == 127
        else char
        for char in name
    )


def decode_segment(segment: str) -> str:
    """Return the name that `encode_segment` turned into *segment*; also decodes ASCII-only wire forms.

    >>> decode_segment("Cube%201%2F2")
    'Cube 1/2'
    """
    if segment == "%":
        return ""
    if "%" not in segment:
        return segment
    raw = bytearray()
    position = 0
    for match in _ESCAPED.finditer(segment):
        raw += segment[position : match.start()].encode("utf-8")
        raw.append(int(match.group(1), 16))
        position = match.end()
    raw += segment[position:].encode("utf-8")
    return raw.decode("utf-8", "replace")


def ascii_path(path: str) -> str:
    """Return *path* with non-ASCII characters percent-encoded, as it goes over OSC."""
    if path.isascii():
        return path
    return "".join(c if c.isascii() else "".join("%%%02X" % b for b in c.encode("utf-8")) for c in path)


def unicode_path(path: str) -> str:
    """Return the inverse of `ascii_path`: escapes of non-ASCII characters decoded, reserved ones kept."""
    if "%" not in path:
        return path
    return "/".join(encode_segment(decode_segment(part)) if part else "" for part in path.split("/"))


def join(*parts: str) -> str:
    """Join paths and already encoded segments.

    >>> join("/blender", "objects", "Cube")
    '/blender/objects/Cube'
    """
    inner = [part.strip("/") for part in parts]
    return "/" + "/".join(part for part in inner if part)


def parent(path: str) -> str:
    """Return the path one level up; the root is its own parent."""
    return path[: path.rfind("/")] or "/"


def is_under(path: str, ancestor: str) -> bool:
    """Say whether *path* is *ancestor* or lies below it."""
    return ancestor == "/" or path == ancestor or path.startswith(ancestor + "/")


def check_path(path: str) -> str:
    """Return *path* if it is a valid path of an entry, else raise `ValueError` that says what to change."""
    if not path.startswith("/"):
        raise ValueError("path %r does not begin with '/': write '/%s'" % (path, path))
    if path == "/":
        raise ValueError("path '/' is the root and holds no value")
    if path.endswith("/") or "//" in path:
        raise ValueError("path %r has an empty segment: remove the extra '/'" % path)
    bad = _BAD_IN_PATH.search(path)
    if bad:
        char = bad.group()
        raise ValueError(
            "path %r has %r at position %d: percent-encode it as %%%02X" % (path, char, bad.start(), ord(char))
        )
    if len(path) > MAX_PATH_BYTES // 4 and len(path.encode("utf-8", "surrogatepass")) > MAX_PATH_BYTES:
        raise ValueError("path is longer than %d bytes: %.60r…" % (MAX_PATH_BYTES, path))
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("path %r holds a lone surrogate, which is not Unicode text" % path) from None
    return path


class Pattern:
    """A compiled pattern; equal texts give the same object through `compile_pattern`.

    `text` is the pattern as written, `exact` says that it has no wildcard and so matches one
    path only, `prefix` is the path that everything it matches lies at or below.
    """

    __slots__ = ("_match", "exact", "prefix", "text")

    def __init__(self, text: str) -> None:
        if not text.startswith("/"):
            raise ValueError("pattern %r does not begin with '/': write '/%s', or '//' for everything" % (text, text))
        self.text = text
        self.exact = not _WILD.search(text) and "//" not in text and text != "/"
        self.prefix = text if self.exact else _literal_prefix(text)
        self._match = re.compile(_regex(text), re.DOTALL).fullmatch

    def matches(self, path: str) -> bool:
        """Say whether *path* matches."""
        if self.exact:
            return path == self.text
        return self._match(path) is not None

    def __repr__(self) -> str:
        return "Pattern(%r)" % self.text


def _literal_prefix(text: str) -> str:
    first = re.search(r"//|[?*\[{]", text)
    head = text[: first.start()] if first else text
    if first and first.group() == "//":
        return head or "/"  # `/a//` matches `/a` itself, so the whole head counts
    return head[: head.rfind("/")] or "/"


@functools.lru_cache(maxsize=4096)
def compile_pattern(text: str) -> Pattern:
    """Return the compiled pattern, or raise `ValueError` that says what is malformed and where."""
    return Pattern(text)


def _regex(text: str) -> str:
    if len(text) > MAX_PATH_BYTES:
        raise ValueError("pattern is longer than %d characters" % MAX_PATH_BYTES)
    out = []
    position = 0
    while position < len(text):
        char = text[position]
        if char == "/":
            if text.startswith("//", position):
                if text.startswith("///", position):
                    raise ValueError("pattern %r has '///' at position %d: use '//'" % (text, position))
                position += 2
                out.append("(?:/[^/]+)*" if position == len(text) else "(?:/[^/]+)*/")
                continue
            out.append("/")
        elif char == "*":
            out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif char == "[":
            end = text.find("]", position + 2)
            if end < 0:
                raise ValueError("pattern %r has '[' at position %d without ']'" % (text, position))
            body = text[position + 1 : end]
            negated = body.startswith("!")
            body = body[1:] if negated else body
            inner = re.sub(r"([\\\]\[^&~|])", r"\\\1", body)
            try:
                re.compile("[%s]" % inner)
            except re.error:
                raise ValueError("pattern %r has a malformed range at position %d" % (text, position)) from None
            out.append("(?!/)[%s%s]" % ("^" if negated else "", inner))
            position = end
        elif char == "{":
            end = text.find("}", position)
            if end < 0:
                raise ValueError("pattern %r has '{' at position %d without '}'" % (text, position))
            out.append("(?:%s)" % "|".join(re.escape(word) for word in text[position + 1 : end].split(",")))
            position = end
        elif char in "]}":
            raise ValueError("pattern %r has %r at position %d without its opening" % (text, char, position))
        else:
            out.append(re.escape(char))
        position += 1
    return "".join(out)
