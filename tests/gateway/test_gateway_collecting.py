"""The collector and what the gateway keeps: assets of operations stay, those of kept answers alone go and are a miss."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.support.collecting import DAY, open_desk

from lightfast.gateway.cache.answers import KeptAnswers
from lightfast.gateway.operations import Operation, Operations, OperationState
from lightfast.gateway.ports import Asked, Kept
from lightfast.sdk import Usage

ASKED = Asked("studio/image", "image", "a lantern", "", (), "", {}, (), 7, 0)


async def test_the_assets_of_operations_stay_as_long_as_their_rows(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        source, made, old, lonely = [await desk.asset(name) for name in ("source", "made", "old", "lonely")]
        operations = Operations(desk.db)
        begun = desk.clock.now_ns()
        running = Operation("op-1", OperationState.RUNNING, "m/film", "video", "", 1, "me", begun, job_id="job-1")
        await operations.save(replace(running, sources=(source.sha256,)))
        ended = replace(running, operation_id="op-3", state=OperationState.SUCCEEDED, job_id="", end_time=begun)
        await operations.save(replace(ended, assets=(old,)))
        desk.clock.advance(100 * DAY)
        await operations.save(replace(ended, operation_id="op-2", create_time=desk.clock.now_ns(), assets=(made,)))
        await desk.collect("operations")
        assert [row for (row,) in await desk.db.query("SELECT operation_id FROM operations ORDER BY 1")] == [
            "op-1",
            "op-2",
        ]
        reports = await desk.collect("assets")
        assert {item.ident for report in reports for item in report.items} == {old.sha256, lonely.sha256}
        assert reports[-1].kept == {"job": 2}
        assert (await desk.blobs.get(source.sha256)).size == source.size
        assert (await desk.blobs.get(made.sha256)).size == made.size


async def test_an_asset_that_only_a_kept_answer_names_goes_and_the_answer_is_a_miss(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        picture, other = await desk.asset("a picture"), await desk.asset("another")
        answers = KeptAnswers(desk.db, desk.blobs, desk.clock, days=365.0)
        await answers.keep(ASKED, Kept("studio/image", "", (picture,), Usage(), 0.0, "stop", 7))
        again = replace(ASKED, prompt="a storm")
        await answers.keep(again, Kept("studio/image", "", (other,), Usage(), 0.0, "stop", 7))
        desk.clock.advance(40 * DAY)
        assert await answers.find(again, "") is not None  # which counts as a use of its asset
        reports = await desk.collect("assets")
        assert [item.ident for report in reports for item in report.items] == [picture.sha256]
        assert await answers.find(ASKED, "") is None
        assert answers.counts.misses == 1
        assert await answers.find(again, "") is not None
        assert await desk.db.query("SELECT count(*) FROM kept_answers") == [(1,)]
