"""A call that comes again, because its answer was lost, is told what the first was told: nothing is there twice."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support import plain_frames
from tests.support.archives import all_frames, files, fill, finished, opened, small, still

from lightfast.api.v1 import memory_pb2 as pb
from lightfast.core.errors import AlreadyExists, Exhausted
from lightfast.storage.archive import repeated
from lightfast.storage.archive.archive import Archive
from lightfast.storage.archive.records import NewFrame
from lightfast.wire.grpc.frames import FrameMethods

CALLS = {
    "lone": [NewFrame("one")],
    "texts": [NewFrame("one"), NewFrame("two"), NewFrame("two")],
    "mixed": [NewFrame(b"\0", kind="raw"), NewFrame("with", metadata={"a": 1}), NewFrame("lone \ud800")],
}


@pytest.mark.parametrize("way", ["at once", "closed", "killed", "packed"])
async def test_a_call_that_comes_again_appends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    small(monkeypatch, 8)
    still(monkeypatch)
    folder, told = tmp_path / "archive", {}
    async with opened(folder) as archive:
        await fill(archive, 5, group=2)
        for name, frames in CALLS.items():
            told[name] = await archive.append(frames, request=name)
            await archive.append(frames)  # without a name they are others
        if way == "packed":
            await finished(archive.migrate())
        if way == "at once":
            for name, frames in CALLS.items():
                assert await archive.append(frames, request=name) == told[name]
        if way == "killed":
            shutil.copytree(folder, tmp_path / "copy")
            folder = tmp_path / "copy"
    async with opened(folder) as archive:
        there = await all_frames(archive)
        assert len(there) == 5 + 2 * 7
        assert not any(name.startswith("_") for frame in there for name in frame.metadata)
        for name, frames in CALLS.items():
            assert await archive.append(frames, request=name) == told[name]
        assert await all_frames(archive) == there
        fresh = await archive.append([NewFrame("one")], request="another")
        assert len(await all_frames(archive)) == len(there) + 1
        assert fresh[0] not in told["lone"]
        await archive.remove(told["texts"][1:2], reason="test")
    async with opened(folder) as archive:  # what is not whole any more cannot be the answer
        assert set(await archive.append(CALLS["texts"], request="texts")).isdisjoint(told["texts"])


async def test_a_name_that_was_used_for_other_frames_is_refused(tmp_path: Path) -> None:
    for _ in range(2):
        async with opened(tmp_path / "archive") as archive:
            ids = await archive.append([NewFrame("one"), NewFrame(b"two")], request="name")
            for other in (
                [NewFrame("one")],
                [NewFrame("one"), NewFrame(b"TWO")],
                [NewFrame("one", kind="x"), NewFrame(b"two")],
            ):
                with pytest.raises(AlreadyExists) as refused:
                    await archive.append(other, request="name")
                assert refused.value.reason == "REQUEST_ID_REUSED"
            assert len(await all_frames(archive)) == 2
            assert list(await archive.get(ids)) == ids


async def test_a_call_that_failed_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path / "archive", quota=1 << 12) as archive:
        with pytest.raises(Exhausted):
            await archive.append([NewFrame("x" * 8000)], request="name")
        assert len(await archive.append([NewFrame("y")], request="name")) == 1
        monkeypatch.setattr(repeated, "MOST", 3)
        ids = [await archive.append([NewFrame("z")], request=f"n{number}") for number in range(5)]
        assert [await archive.append([NewFrame("z")], request=f"n{number}") for number in (4, 3, 2)] == ids[:1:-1]
        again = await archive.append([NewFrame("z")], request="n0")
        assert again != ids[0]
        many = [NewFrame("z")] * 3
        assert await archive.append(many, request="many") == await archive.append(many, request="many")
        assert await archive.append([NewFrame("z")], request="n0") != again  # it is the frames that are counted


async def test_the_name_of_a_call_is_in_its_first_frame(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    async with opened(folder) as archive:
        for name, frames in CALLS.items():
            await archive.append(frames, request=name)
    (path,) = files(folder)
    named = [one.metadata.get("_request") for one in plain_frames.read(path.read_bytes())]
    assert named == ["lone:1", "texts:3", None, None, "mixed:3", None, None]


async def test_a_request_whose_answer_was_not_stored_is_answered_by_the_frames(tmp_path: Path) -> None:
    """The daemon died between the frames and its answer: the table of answers does not know of the request."""

    class Requests:
        async def once(self, client: str, method: str, request_id: str, payload: bytes, call: object) -> bytes:
            assert (client, method, request_id) == ("client:me", "AppendFrames", "r1")
            return await call()  # type: ignore[operator, no-any-return]

    class Services:
        requests = Requests()
        archive: Archive

    caller: Any = SimpleNamespace(principal=SimpleNamespace(origin="client:me"))
    request = pb.AppendFramesRequest(frames=[pb.NewFrame(text="a"), pb.NewFrame(text="b")], request_id="r1")
    answers = []
    for _ in range(2):
        async with opened(tmp_path / "archive") as archive:
            Services.archive = archive
            methods = FrameMethods(Services())  # type: ignore[arg-type]
            answers.append(await methods.AppendFrames(request, caller))
            other = pb.AppendFramesRequest(frames=request.frames)
            await methods.AppendFrames(other, caller)
    assert answers[0] == answers[1]
    assert len(answers[0].frame_ids) == 2
    async with opened(tmp_path / "archive") as archive:
        assert len(await all_frames(archive)) == 2 + 2 * 2
