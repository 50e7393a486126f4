"""Whatever crosses what: the tree ends with what the application holds, and every wish has an end that can be seen."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tests.support.desk import open_desk
from tests.support.twins import RETURNS, Program

POLICIES = ("", "", "daemon", "newest", "app", "ask")
RETURNING = [("returns", seed) for seed in (7, 8, 11, 14, 21, 32, 34, 41, 43, 57, 60, 66)]
"""Seeds by which something was lost, as long as answers passed reports that were held back."""


@pytest.mark.parametrize(("program", "seed"), [("anything", seed) for seed in range(10)] + RETURNING)
async def test_nothing_acknowledged_is_lost_and_both_sides_agree(tmp_path: Path, program: str, seed: int) -> None:
    rng = random.Random(f"{program} {seed}")
    policy = rng.choice(POLICIES[:3] if program == "returns" else POLICIES)
    config = {"twins": {"wish_timeout_s": 0.15, **({"resync_policy": policy} if policy else {})}}
    async with open_desk(tmp_path, config) as desk:
        twins = Program(desk, rng, at_once=program == "returns")
        await twins.run(RETURNS * 4 if program == "returns" else [rng.random() for _ in range(36)])
        assert await twins.wrong() == []
