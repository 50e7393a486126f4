"""Asks the bench's AI service through an SDK alone, and tells what that took.

`python llm_bare.py chat|responses|litellm URL` runs in any environment that has the SDK: nothing of ours is imported.
It prints `ready`, then answers each line of its input with one line of JSON; see `work`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

CROWD = 16
FEW, MANY = 20, 520
"""The pieces of the two answers whose difference tells what one piece takes."""
MODEL = "gpt-5.4-mini"

Ask = Callable[[str, bool], Awaitable[int]]
"""Takes a prompt and whether the answer is streamed; returns how many pieces came."""


def ask_with(kind: str, url: str, key: str = "bench") -> Ask:
    """Return what asks."""
    if kind == "litellm":
        return _litellm(url)
    import openai

    client = openai.AsyncOpenAI(api_key=key, base_url=url, max_retries=0)

    async def chat(prompt: str, stream: bool) -> int:
        messages: Any = [{"role": "user", "content": prompt}]
        if not stream:
            answer = await client.chat.completions.create(model=MODEL, messages=messages)
            return int(bool(answer.choices[0].message.content))
        options: Any = {"include_usage": True}
        count = 0
        async for chunk in await client.chat.completions.create(
            model=MODEL, messages=messages, stream=True, stream_options=options
        ):
            count += bool(chunk.choices and chunk.choices[0].delta.content)
        return count

    async def responses(prompt: str, stream: bool) -> int:
        if not stream:
            answer = await client.responses.create(model=MODEL, input=prompt)
            return int(bool(answer.output_text))
        count = 0
        async for event in await client.responses.create(model=MODEL, input=prompt, stream=True):
            count += event.type == "response.output_text.delta"
        return count

    return responses if kind == "responses" else chat


def _litellm(url: str) -> Ask:
    import litellm  # type: ignore[import-not-found]  # in an environment of its own

    litellm.telemetry = False

    async def ask(prompt: str, stream: bool) -> int:
        messages = [{"role": "user", "content": prompt}]
        options: Any = {"model": f"openai/{MODEL}", "api_base": url, "api_key": "bench", "num_retries": 0}
        if not stream:
            answer = await litellm.acompletion(messages=messages, **options)
            return int(bool(answer.choices[0].message.content))
        count = 0
        async for chunk in await litellm.acompletion(
            messages=messages, stream=True, stream_options={"include_usage": True}, **options
        ):
            count += bool(chunk.choices and chunk.choices[0].delta.content)
        return count

    return ask


async def _requests(ask: Ask, count: int, *, stream: bool, same: bool = False, at_once: int = 1) -> dict[str, float]:
    times: list[float] = []

    async def one(first: int) -> None:
        for index in range(first, count, at_once):
            prompt = "what is on the table?" if same else f"what is on the table, for the {index}th time?"
            start = time.perf_counter()
            assert await ask(prompt, stream) > 0
            times.append(time.perf_counter() - start)

    began = time.process_time()
    await asyncio.gather(*(one(first) for first in range(at_once)))
    return {"cpu": (time.process_time() - began) / count, "p50": statistics.median(times)}


async def _pieces(ask: Ask, count: int) -> dict[str, float]:
    spent: list[float] = []
    for pieces in (FEW, MANY):
        began = time.process_time()
        for index in range(count):
            assert await ask(f"say {index} #{pieces}", True) == pieces
        spent.append((time.process_time() - began) / count)
    return {"cpu": (spent[1] - spent[0]) / (MANY - FEW), "p50": 0.0}


class Ledger:
    """What a program of one's own writes down that is to know after a power cut what it has asked: a row per answer."""

    def __init__(self, folder: str) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._rows = sqlite3.connect(Path(folder) / "ledger.db", isolation_level=None, check_same_thread=False)
        self._rows.execute("PRAGMA journal_mode = WAL")
        self._rows.execute("PRAGMA synchronous = FULL")
        self._rows.execute("CREATE TABLE ledger(time INTEGER, model TEXT, prompt TEXT, pieces INTEGER)")

    def _write(self, prompt: str, pieces: int) -> None:
        self._rows.execute("INSERT INTO ledger VALUES(?, ?, ?, ?)", (time.time_ns(), MODEL, prompt, pieces))

    def with_row(self, ask: Ask) -> Ask:
        """Return what asks, and goes on when the row is on the disk."""

        async def kept(prompt: str, stream: bool) -> int:
            pieces = await ask(prompt, stream)
            await asyncio.get_running_loop().run_in_executor(self._thread, self._write, prompt, pieces)
            return pieces

        return kept

    def close(self) -> None:
        """Close the file."""
        self._thread.shutdown()
        self._rows.close()


async def work(ask: Ask, again: Ask | None = None) -> None:
    """Do what the input says until it ends; each answer is `cpu` and `p50`, in seconds.

    `once N` and `streamed N` make N requests whose answer is short and comes at once, or as a stream, one after the
    other; `crowd_once N` and `crowd_streamed N` with sixteen under way; `kept N` and `crowd_kept N` are `once` with a
    row on the disk for each; `pieces N` makes N long streams, *cpu* is that of one piece; `again N` asks *again* the
    same.
    """
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(folder)
        try:
            await _work(ask, ledger.with_row(ask), again)
        finally:
            ledger.close()


async def _work(ask: Ask, kept: Ask, again: Ask | None) -> None:
    for stream in (False, True):
        await _requests(ask, 32, stream=stream)
        await _requests(ask, 32, stream=stream, at_once=CROWD)
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        order, _, number = line.partition(" ")
        gc.collect()
        if order == "pieces":
            found = await _pieces(ask, int(number))
        elif order == "again" and again is not None:
            await again("what is on the table?", True)
            found = await _requests(again, int(number), stream=True, same=True)
        else:
            at_once = CROWD if order.startswith("crowd") else 1
            chosen = kept if order.endswith("kept") else ask
            found = await _requests(chosen, int(number), stream=order.endswith("streamed"), at_once=at_once)
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    asyncio.run(work(ask_with(sys.argv[1], sys.argv[2])))
