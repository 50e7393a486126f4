"""How much memory a value takes in this process."""

from __future__ import annotations

from sys import getsizeof

from lightfast_link.value import Value

_ASSET = 400
"""An asset: four texts."""


def footprint(value: Value | None) -> int:
    """Return about how many bytes *value* takes in memory, with all it holds; small integers count, too.

    `codec.size_of` says what it takes in a message, which of a list of numbers is a third.
    """
    kind = type(value)
    if value is None or kind is bool:
        return 0
    if isinstance(value, (str, bytes, int, float)):
        return getsizeof(value)
    if isinstance(value, tuple):
        return getsizeof(value) + 24 * len(value)
    if isinstance(value, list):
        return getsizeof(value) + sum([footprint(item) for item in value])
    if isinstance(value, dict):
        return getsizeof(value) + sum([getsizeof(name) + footprint(item) for name, item in value.items()])
    return _ASSET
