"""Whose rights are looked up anew, with a real book of tokens."""

from __future__ import annotations

import pytest
from tests.core.test_security_tokens import Rows

from lightfast.core.clock import StillClock
from lightfast.core.errors import Denied
from lightfast.engine.ports import Asker
from lightfast.engine.rights import Rights
from lightfast.security.tokens import LOCAL, Scope, TokenBook

HELD = frozenset(("watch", "operate", "approve"))


@pytest.mark.parametrize("identity", ["local", "trigger:door-1", "app:live", "run:r1", "me"])
async def test_who_holds_no_token_has_the_rights_that_they_had(identity: str) -> None:
    asker = Asker(identity, identity, HELD)
    assert Rights((await TokenBook.open(Rows(), StillClock())).scopes_of).now(asker, "again") is asker
    assert Rights().now(Asker("client:gone", "client:gone", HELD), "again").scopes == HELD


async def test_a_token_counts_as_it_is_now() -> None:
    clock = StillClock()
    book = await TokenBook.open(Rows(), clock)
    rights, asker = Rights(book.scopes_of), Asker("client:first", "client:first#cli1", HELD)

    def refused() -> str:
        with pytest.raises(Denied) as caught:
            rights.now(asker, "again")
        return caught.value.reason

    assert refused() == "ASKER_REVOKED"
    record, _ = await book.issue("first", {Scope.WATCH, Scope.OPERATE}, 60.0, LOCAL)
    assert rights.now(asker, "again").scopes == {"watch", "operate"}
    clock.advance(60.0)
    assert refused() == "ASKER_REVOKED"
    await book.revoke(record.token_id)
    await book.issue("first", {Scope.WATCH}, None, LOCAL)
    assert refused() == "ASKER_SCOPE"
    watching = Asker("client:first", "client:first", frozenset(("watch",)))
    assert rights.now(watching, "again").scopes == {"watch"}, "who never could is not refused for that here"
