"""Nothing is committed while nothing happens, and a leader that leaves keeps nobody waiting."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.engine.test_engine_journal import journal
from tests.engine.test_engine_transport_desk import follow, lead
from tests.support.desk import open_desk, until
from tests.support.player import Player, stage, stands

from lightfast.context.entry import Delete
from lightfast.core.errors import Unavailable
from lightfast.engine.links.links import Link
from lightfast.engine.transport.records import Standing


async def test_a_desk_that_stands_still_commits_nothing(tmp_path: Path) -> None:
    async with stage(tmp_path) as (desk, transport), journal(desk) as found:
        deck, sequencer = Player("deck"), Player("sequencer")
        await lead(desk, transport, deck)
        await follow(desk, sequencer)
        await desk.links.create(Link("/deck/tempo", "/show/tempo", smooth_s=0.05, condition="/show/armed"))
        await desk.links.create(Link("/show/level", "/show/out", two_way=True, max_rate_hz=50.0))
        await desk.set("/show/armed", True)
        await desk.set("/show/level", 0.5)
        await transport.play()
        await stands(transport, "/sequencer", Standing.IN_STEP)
        seen = desk.store.revision
        await asyncio.sleep(3.5)
        page = await desk.store.history("/transport/apps/*/*_*", after=seen)
        assert len(page.transactions) <= 1, "numbers that only tell do not fill the history"
        await transport.play(False)
        await until(lambda: not sequencer.playing, lambda: sequencer.wished)
        found.recorder.start("take", "local")
        seen, calm = -1, 0
        async with asyncio.timeout(120):
            while calm < 20:  # a second without a revision: longer than anything needs to settle
                calm = calm + 1 if desk.store.revision == seen else 0
                seen = desk.store.revision
                await asyncio.sleep(0.05)
                await desk.store.drain()  # on a slow disk a second may pass over one commit
        wishes = len(sequencer.wished), len(deck.wished)
        await asyncio.sleep(2.0)
        assert desk.store.revision == seen
        assert (len(sequencer.wished), len(deck.wished)) == wishes
        await found.recorder.stop()


async def test_a_leader_that_goes_during_a_seek_keeps_nobody_waiting(tmp_path: Path) -> None:
    async with stage(tmp_path) as (desk, transport):
        deck = Player("deck", sticks={"position"})
        await lead(desk, transport, deck)
        seeking = asyncio.ensure_future(transport.seek(seconds=40.0))
        await until(lambda: ("position", 40.0) in deck.wished, lambda: deck.wished)
        await deck.leave()
        with pytest.raises(Unavailable) as caught:
            await seeking
        assert (caught.value.reason, caught.value.metadata) == ("LEADER_GONE", {"mount": "/deck"})
        await transport.seek(seconds=41.0)
        assert transport.record().position >= 41.0


async def test_links_that_wait_for_a_path_that_went_away_commit_nothing(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.set("/a", 1.0)
        link = await desk.links.create(Link("/a", "/b", condition="/armed", smooth_s=5.0))
        await desk.set("/armed", True)
        await until(lambda: desk.store.get("/b") is not None)
        await desk.set("/a", 2.0)
        await asyncio.sleep(0.1)
        await desk.store.apply([Delete("/armed")], origin="client:test")
        await until(lambda: "/armed holds nothing" in desk.links.get(link.link_id).waiting)
        await asyncio.sleep(0.1)
        seen = desk.store.revision
        await asyncio.sleep(0.3)
        assert desk.store.revision == seen
