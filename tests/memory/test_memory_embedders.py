"""The book of embedders: found by name, run off the loop, cached, and replaced by trigrams where one is missing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.support.plugins import NotingSink, installed, record_of, until

from lightfast.context.memory.embedders import BATCH, EmbedderBook
from lightfast.core import trigrams
from lightfast.core.errors import AlreadyExists, DeadlineExceeded, FailedPrecondition, NotFound, Unavailable
from lightfast.host.plugins import PluginHost
from lightfast.host.records import PluginState
from lightfast.sdk.testing import ContractBroken, check_embedder


class Letters:
    """Counts a, b and c; notes what it is asked, and in which thread."""

    def __init__(self, name: str = "letters") -> None:
        self.name = name
        self.dimensions = 3
        self.asked: list[list[str]] = []
        self.threads: set[int] = set()
        self.closed = 0
        self.gate: threading.Event | None = None
        self.wrong: Sequence[Sequence[float]] | Exception | None = None

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        self.asked.append(list(texts))
        self.threads.add(threading.get_ident())
        if self.gate is not None:
            self.gate.wait(30)
        if isinstance(self.wrong, Exception):
            raise self.wrong
        if self.wrong is not None:
            return self.wrong
        return [[float(text.count(letter)) for letter in "abc"] for text in texts]

    def close(self) -> None:
        self.closed += 1


async def test_vectors_are_made_off_the_loop_have_length_one_and_are_kept() -> None:
    book, letters = EmbedderBook("letters", cache_size=3), Letters()
    try:
        book.register(letters, "mine")
        found = await book.embed("", ["aab", "c", "aab", ""])
        assert [round(number, 4) for number in found[0]] == [0.8944, 0.4472, 0.0]
        assert list(found[1]) == [0.0, 0.0, 1.0]
        assert found[2] == found[0]
        assert list(found[3]) == [0.0, 0.0, 0.0]
        assert letters.asked == [["aab", "c", ""]]
        assert threading.get_ident() not in letters.threads
        assert await book.embed("letters", ["c"]) == [found[1]]
        assert (book.hits, len(letters.asked)) == (1, 1)
        await book.embed("letters", ["a", "b"])
        assert book.kept == 3  # bounded
        book.forget(["a"])
        await book.embed("letters", ["a"])
        assert letters.asked[-1] == ["a"]
        await book.embed("letters", [f"a{number}" for number in range(2 * BATCH + 1)])
        assert [len(texts) for texts in letters.asked[-3:]] == [BATCH, BATCH, 1]
    finally:
        await book.close()
    assert letters.closed == 1


async def test_a_missing_one_is_replaced_by_trigrams_with_a_note() -> None:
    book, changes = EmbedderBook("letters"), []
    book.on_changed.append(lambda: changes.append(book.current.name))
    letters = Letters()
    try:
        assert book.current.name == "trigram"
        assert "'letters'" in book.note
        assert "lightfast plugins" in book.note
        assert await book.embed("", ["tempo"]) == [trigrams.dense("tempo")]
        long = ["word " * 2000] * 300
        assert (await book.embed("trigram", long))[299] == trigrams.dense(long[0])  # in the thread, in parts
        assert book.kept == 0
        with pytest.raises(NotFound, match="there is trigram"):
            book.get("other")
        book.register(letters)
        assert (book.note, book.current, book.names) == ("", letters, ["letters", "trigram"])
        with pytest.raises(AlreadyExists):
            book.register(Letters())
        with pytest.raises(AlreadyExists, match="Lightfast itself"):
            book.register(Letters("trigram"))
        book.unregister(Letters())  # another one of that name: nothing happens
        assert book.current is letters
        book.unregister(letters)
        await until(lambda: letters.closed, "it is closed when it is idle")
        assert changes == ["letters", "trigram"]
    finally:
        await book.close()


async def test_one_that_fails_or_breaks_its_promise_is_named() -> None:
    book, letters = EmbedderBook("letters"), Letters()
    try:
        book.register(letters, "mine")
        letters.wrong = RuntimeError("out of paper")
        with pytest.raises(Unavailable, match=r"letters failed with RuntimeError: out of paper.*reload mine"):
            await book.embed("", ["a"])
        for wrong in ([[1.0, 0.0]], [[float("nan")] * 3], [[1.0, 0.0, 0.0]] * 2):
            letters.wrong = wrong
            with pytest.raises(FailedPrecondition) as broken:
                await book.embed("", ["a"])
            assert broken.value.reason == "EMBEDDER_BROKEN"
        letters.wrong, letters.gate = None, threading.Event()
        usual, book._deadline_s = book._deadline_s, 0.2
        with pytest.raises(DeadlineExceeded):
            await book.embed("", ["a"])
        book._deadline_s = usual
        assert await book.embed("trigram", ["a"])  # others go on
        letters.gate.set()
        letters.gate = None
        assert list((await book.embed("", ["a"]))[0]) == [1.0, 0.0, 0.0]
    finally:
        await book.close()


async def test_never_twice_at_once() -> None:
    book, letters = EmbedderBook("letters"), Letters()
    letters.gate = threading.Event()
    try:
        book.register(letters)
        calls = [asyncio.ensure_future(book.embed("", [f"a{number}"])) for number in range(5)]
        await until(lambda: letters.asked, "the first is asked")
        assert len(letters.asked) == 1
        letters.gate.set()
        await asyncio.gather(*calls)
        assert len(letters.threads) == 1
    finally:
        letters.gate.set()
        await book.close()


PLUGIN = """
from lightfast.sdk import hookimpl

class Two:
    name = "two"
    dimensions = {dimensions}
    def embed(self, texts): return [[1.0, 0.0] for _ in texts]
    def close(self): pass

@hookimpl
def lightfast_embedders(config): return [Two()]
"""


@pytest.mark.parametrize(
    ("dimensions", "state"), [("2", PluginState.READY), ("0", PluginState.FAILED), ("'x'", PluginState.FAILED)]
)
async def test_plugins_bring_them(tmp_path: Path, dimensions: str, state: PluginState) -> None:
    sink = NotingSink()
    with installed(tmp_path, lfx_two=PLUGIN.format(dimensions=dimensions)) as found:
        host = PluginHost({}, sink=sink, found=found)
        try:
            await host.start()
            await host.settled()
            record = record_of(host, "two")
            assert record.state is state, record.reason
            assert record.brings == (("embedder:two",) if state is PluginState.READY else ())
            assert bool(record.reason) is (state is PluginState.FAILED)
            assert list(sink.embedders) == (["two"] if state is PluginState.READY else [])
        finally:
            await host.close()
    assert sink.embedders == {}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ([[2.0, 0.0, 0.0]], "of length 2"),
        ([[1.0, 0.0]], "of 2 numbers"),
        ([[1.0, 0.0, 0.0]] * 99, "99 vectors"),
        ([[float("inf"), 0.0, 0.0]], "not finite"),
    ],
)
def test_the_contract_finds_what_is_wrong(wrong: Sequence[Sequence[float]], said: str) -> None:
    class Wrong(Letters):
        def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
            return [] if not texts else wrong if len(wrong) > 1 else list(wrong) * len(texts)

    with pytest.raises(ContractBroken, match=said):
        check_embedder(Wrong())


def test_the_contract_finds_vectors_that_depend_on_their_company() -> None:
    class Fickle(Letters):
        def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
            return [[1.0, 0.0, 0.0] if len(texts) == 1 else [0.0, 1.0, 0.0] for _ in texts]

    with pytest.raises(ContractBroken, match="when it stood alone"):
        check_embedder(Fickle())
