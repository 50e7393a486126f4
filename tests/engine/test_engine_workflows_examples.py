"""The ten examples that ship, each run to its end on the embedded default: the studio, and no application."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.support.flows import LOCAL, Flows, flows, until

from lightfast.context.entry import Set
from lightfast.context.scenes.records import Wanted
from lightfast.engine.runs.records import Run, RunState
from lightfast.engine.workflows.semantics import problems_of
from lightfast.engine.workflows.shelf import example, example_names
from lightfast.storage.assets import Provenance
from lightfast_link.value import Asset

NAMES = (
    "announce",
    "backup-note",
    "crossfade-on-beat",
    "ingest-images",
    "loop-at-tempo",
    "morning-check",
    "palette-to-lights",
    "poster-from-colours",
    "snapshot",
    "variations",
)
SMALL: Mapping[str, Mapping[str, Any]] = {
    "poster-from-colours": {"width": 64, "height": 96, "colours": ["teal", "red"]},
    "loop-at-tempo": {"bars": 1, "tempo": 120},
    "crossfade-on-beat": {"scene": "warm", "seconds": 0},
    "palette-to-lights": {"dim": True, "colours": ["#ff0000", "#00ff00"]},
    "variations": {"size": 64, "styles": ["gradient", "stripes"], "ask": False},
}


def test_all_ten_are_in_the_package() -> None:
    assert example_names() == NAMES
    for name in NAMES:
        found = example(name)
        assert found is not None
        assert found.name == name
        assert found.summary


async def small_picture(house: Flows) -> str:
    made = io.BytesIO()
    Image.new("RGB", (40, 20), "teal").save(made, "PNG")
    record = await house.blobs.put(made.getvalue(), "image/png", "in.png", Provenance())
    return f"asset:{record.sha256}"


def check(name: str, house: Flows, run: Run) -> None:
    value = house.value
    if name == "announce":
        assert value("/show/announcement").media_type.startswith("audio/")
        assert value("/show/announcement-text") == "The doors are open."
    elif name == "crossfade-on-beat":
        assert value("/show/level") == 0.25
    elif name == "ingest-images":
        assert isinstance(value("/show/incoming/image"), Asset)
    elif name == "loop-at-tempo":
        assert value("/show/loop").media_type.startswith("audio/")
        assert value("/show/loop-tempo") == 120
    elif name == "morning-check":
        assert value("/show/check")["applications"] == 0
    elif name == "palette-to-lights":
        assert [value(f"/lights/{index}/colour") for index in range(2)] == ["#ff0000", "#00ff00"]
        assert value("/lights/level") == 0.5
    elif name == "poster-from-colours":
        assert value("/show/poster").media_type.startswith("image/")
    elif name == "variations":
        assert isinstance(run.result, list)
        assert len(run.result) == 2
        assert isinstance(value("/show/picture"), Asset)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_runs_to_its_end(name: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with flows(tmp_path, start=False, watching=False) as house:
            found = example(name)
            assert found is not None
            assert problems_of(found, house.operations) == ()
            await house.store.apply([Set("/show/level", 0.25)], origin="client:test")
            if name == "crossfade-on-beat":
                await house.scenes.save(Wanted("warm", patterns=("/show//",)), origin="client:test")
                await house.store.apply([Set("/show/level", 1.0)], origin="client:test")
            given = dict(SMALL.get(name, {}))
            if name == "ingest-images":
                given = {"image": await small_picture(house), "width": 32, "height": 32}
            run = await house.run(name, given)
            failed = [(step.step_id, step.error) for step in run.steps if step.error]
            assert run.state is RunState.SUCCEEDED, (run.reason, failed)
            assert run.details["workflow"] == name
            assert run.details["version"] == found.version
            check(name, house, run)
            if name in ("snapshot", "backup-note"):
                saved = await house.scenes.all()
                assert [each.name for each in saved] == ["snapshot" if name == "snapshot" else "evening"]

    asyncio.run(main())


def test_the_variations_wait_for_a_person(tmp_path: Path) -> None:
    async def main() -> None:
        async with flows(tmp_path, start=False, watching=False) as house:
            given: dict[str, Any] = {"size": 64, "styles": ["gradient"]}
            run = await house.workflows.start("variations", given, LOCAL)
            await until(lambda: house.asks.waiting(run.run_id))
            assert house.value("/show/picture") is None
            assert house.asks.waiting(run.run_id) == ["Publish the first variation?"]
            assert house.asks.answer(run.run_id, "client:boss")
            done = await house.ended(run.run_id)
            assert done.state is RunState.SUCCEEDED, done.reason
            assert isinstance(house.value("/show/picture"), Asset)

            refused = await house.workflows.start("variations", given, LOCAL)
            await until(lambda: house.asks.waiting(refused.run_id))
            house.asks.answer(refused.run_id, "client:boss", refuse=True, comment="too dark")
            done = await house.ended(refused.run_id)
            assert done.state is RunState.FAILED
            assert "too dark" in done.reason

    asyncio.run(main())
