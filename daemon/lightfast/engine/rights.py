"""What somebody who asked earlier may still do: a token may have been revoked since, or issued anew with less."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from lightfast.core.errors import Denied
from lightfast.engine.ports import Asker

_TOKEN = "client:"  # noqa: S105  (what the identity of a token's holder begins with)
_NEEDED = "operate"
"""What whoever lets something be done needs."""


class Rights:
    """Says what identities may do now. *scopes* returns those of a token by its name, `None`: there is none.

    Who holds no token (the user at their own socket, a trigger, an application) has the rights that they had.
    """

    def __init__(self, scopes: Callable[[str], frozenset[str] | None] | None = None) -> None:
        self._scopes = scopes

    def now(self, asker: Asker, remedy: str) -> Asker:
        """Return *asker* with what they may still do; *remedy* says what helps where that is not enough.

        Raises `Denied`: ASKER_REVOKED where the token is gone or has expired, ASKER_SCOPE where it may do nothing now.
        """
        name = asker.identity.removeprefix(_TOKEN)
        if self._scopes is None or name == asker.identity:
            return asker
        held = self._scopes(name)
        if held is None:
            raise Denied(
                f"the token {name!r}, with which this was asked for, was revoked or has expired: nothing more is"
                f" done; {remedy}, or 'lightfast token issue {name} --scope {_NEEDED}' first to let it count again",
                reason="ASKER_REVOKED",
                metadata={"identity": asker.identity},
            )
        if _NEEDED in asker.scopes and _NEEDED not in held:
            raise Denied(
                f"the token {name!r}, with which this was asked for, has lost the scope {_NEEDED} since: nothing more"
                f" is done; {remedy}",
                reason="ASKER_SCOPE",
                metadata={"identity": asker.identity, "scope": _NEEDED},
            )
        return replace(asker, scopes=asker.scopes & held)
