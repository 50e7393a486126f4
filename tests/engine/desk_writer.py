"""A desk that is talked to by many at once, and says which lines it has acknowledged, until somebody kills it."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

import structlog
from tests.support.desk_back import ASKER, desk_house


async def talk(folder: Path) -> None:
    """Say lines side by side; a line `line_id number` for each acknowledgement, after it was given."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    async with desk_house(folder) as house:

        async def one(talker: int) -> None:
            for number in range(100_000):
                ack = await house.desk.say(f"ms:k{talker}|value {number}", ASKER, f"client:{talker}")
                sys.stdout.write(f"{ack.line_id} {number}\n")
                sys.stdout.flush()

        await asyncio.gather(*(one(talker) for talker in range(8)))


if __name__ == "__main__":
    asyncio.run(talk(Path(sys.argv[1])))
