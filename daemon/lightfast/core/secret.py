"""A secret that does not show by accident."""

from __future__ import annotations

from typing import Any, NoReturn

from lightfast.core import redaction


class Secret:
    """Holds a secret; only `reveal` gives it away. It is hidden in every text that goes through `redaction.hide`.

    It shows as `***` however it is printed, and refuses to be pickled.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value
        redaction.remember(value)

    def reveal(self) -> str:
        """Return the secret itself, for the one call that needs it."""
        return self._value

    def __bool__(self) -> bool:
        """Say whether there is one."""
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        """Compare what is held."""
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        """Hash what is held."""
        return hash(self._value)

    def __repr__(self) -> str:
        """Return no secret."""
        return redaction.HIDDEN

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        """Refuse to be written anywhere."""
        raise TypeError("a secret is not pickled")

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        """Return itself: it cannot change."""
        return self
