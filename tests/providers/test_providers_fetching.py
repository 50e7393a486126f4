"""Results are fetched from where a service says they are: never from a private network, never without a bound."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from tests.emulators.base import Call, Emulator
from tests.providers.contract import STALLS

from lightfast.sdk import ProviderError, Secret
from lightfast_providers._common import media, rest

BODY = b"\x89PNG\r\n\x1a\n" + b"x" * 1000


class Shelf(Emulator):
    """A server with a file, and ways to it that lead elsewhere."""

    service = "shelf"
    offers = frozenset(("401", "403", "404", "429", "500"))
    needs_key = False

    def routes(self) -> Sequence[web.RouteDef]:
        return [
            web.get("/file", self.file),
            web.get("/to", self.to),
            web.get("/round", self.round),
            web.post("/job", self.job),
        ]

    def refusal(self, fault: str, call: Call) -> web.Response:
        return self.failure(int(fault), {"detail": f"no: {call.headers.get('Authorization')}"})

    async def file(self, request: web.Request) -> Any:
        return self.content(request, BODY, "image/png")

    async def to(self, request: web.Request) -> Any:
        return web.Response(status=302, headers={"Location": request.query["where"]})

    async def round(self, request: web.Request) -> Any:
        return web.Response(status=302, headers={"Location": "/round"})

    async def job(self, request: web.Request) -> Any:
        return self.answer(request, {"id": "1"})


@asynccontextmanager
async def shelf() -> AsyncIterator[tuple[Shelf, rest.Rest]]:
    async with Shelf() as emulator:
        line = rest.Rest("Shelf", "pip install x")
        try:
            yield emulator, line
        finally:
            await line.close()


async def test_a_result_is_fetched_from_this_machine_only_for_a_service_of_this_machine() -> None:
    async with shelf() as (emulator, line):
        assert (await line.fetch(f"{emulator.url}/file", base_url=emulator.url)).content == BODY
        assert (await line.fetch(f"http://localhost:{emulator.port}/file", base_url=emulator.url)).content == BODY
        for base_url in ("", "https://api.example.com", "http://10.0.0.1"):
            with pytest.raises(ProviderError, match="only public http and https") as caught:
                await line.fetch(f"{emulator.url}/file", base_url=base_url)
            assert caught.value.kind == "malformed"
        assert len(emulator.calls("/file")) == 2


@pytest.mark.parametrize(
    "url",
    [
        "http://10.1.2.3/x",
        "http://192.168.1.1/x",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/x",
        "http://[::ffff:127.0.0.1]/x",
        "http://[64:ff9b::7f00:1]/x",
        "http://[fd00::1]/x",
        "http://0.0.0.0/x",
        "http://2130706433/x",
        "http://224.0.0.1/x",
        "http://100.64.0.1/x",
        "file:///etc/passwd",
        "ftp://example.com/x",
        "gopher://example.com",
        "http://",
        "http://[broken/x",
        "nonsense",
        "",
    ],
)
async def test_no_other_address_is_fetched(url: str) -> None:
    async with shelf() as (_, line):
        with pytest.raises(ProviderError, match="only public http and https"):
            await line.fetch(url)


async def test_a_redirect_is_looked_at_like_the_first_address() -> None:
    async with shelf() as (emulator, line):
        base = emulator.url
        assert (await line.fetch(f"{base}/to?where=/file", base_url=base)).content == BODY
        for where in ("http://10.0.0.1/x", "file:///etc/passwd", "http://169.254.169.254/"):
            with pytest.raises(ProviderError, match="only public http and https"):
                await line.fetch(f"{base}/to?where={where}", base_url=base)
        emulator.journal.clear()
        with pytest.raises(ProviderError, match="redirected more than"):
            await line.fetch(f"{base}/round", base_url=base)
        assert len(emulator.calls("/round")) == rest.HOPS + 1


async def test_a_name_that_leads_elsewhere_when_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is public when it is looked up first, and this machine when it is connected to."""
    async with shelf() as (emulator, line):
        loop = asyncio.get_running_loop()
        first = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", emulator.port))]
        answers = [first]

        async def turned(host: Any, port: Any, **more: Any) -> Any:
            return answers.pop() if answers else [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

        monkeypatch.setattr(loop, "getaddrinfo", turned)
        with pytest.raises(ProviderError, match="in a private network"):
            await line.fetch(f"http://files.example.com:{emulator.port}/file")


async def test_no_key_goes_to_where_results_lie() -> None:
    async with shelf() as (emulator, line):
        await line.send("POST", f"{emulator.url}/job", headers={"Authorization": "Bearer s3cret"}, key=Secret("s3cret"))
        await line.fetch(f"{emulator.url}/file", base_url=emulator.url)
        assert "Authorization" in emulator.calls("/job")[0].headers
        assert "Authorization" not in emulator.calls("/file")[0].headers


async def test_a_result_has_a_bound_and_a_deadline() -> None:
    async with shelf() as (emulator, line):
        with pytest.raises(ProviderError) as caught:
            await line.fetch(f"{emulator.url}/file", base_url=emulator.url, most=100)
        assert caught.value.kind == "too_large"
        emulator.next("stall-mid")
        with pytest.raises(ProviderError) as caught:
            await line.fetch(f"{emulator.url}/file", base_url=emulator.url, timeout=0.2)
        assert caught.value.kind == "timeout"
        emulator.next("404")
        with pytest.raises(ProviderError, match="could not be fetched") as caught:
            await line.fetch(f"{emulator.url}/file", base_url=emulator.url)
        assert caught.value.kind == "not_found"


async def test_what_may_have_arrived_and_is_paid_for_is_not_retryable() -> None:
    asked: set[str] = set()
    async with shelf() as (emulator, line):
        for fault, timeout in (("disconnect", 20.0), ("disconnect-mid", 20.0), *(("stall", each) for each in STALLS)):
            if fault in asked:
                break
            emulator.journal.clear()
            emulator.faults.clear()
            emulator.next(fault)
            with pytest.raises(ProviderError) as caught:
                await line.send("POST", f"{emulator.url}/job", timeout=timeout, paid=True)
            if not emulator.journal:
                continue
            asked.add(fault)
            assert not caught.value.retryable
            emulator.next(fault)
            with pytest.raises(ProviderError) as caught:
                await line.send("POST", f"{emulator.url}/job", timeout=timeout)
            assert caught.value.retryable
        assert "stall" in asked
        await emulator.stop()
        with pytest.raises(ProviderError, match="cannot be reached") as caught:
            await line.send("POST", f"{emulator.url}/job", paid=True)
        assert caught.value.retryable


async def test_questions_about_a_job_are_asked_again_when_they_fail() -> None:
    async with shelf() as (emulator, line):
        url = f"{emulator.url}/job"
        emulator.next("500", times=media.PATIENCE)
        seen = 0
        async for answer in media.asked(lambda: line.send("POST", url), (0.001, 0.001)):
            seen += 1
            assert answer.table() == {"id": "1"}
            break
        assert seen == 1
        emulator.next("500", times=media.PATIENCE + 1)
        with pytest.raises(ProviderError):
            async for _ in media.asked(lambda: line.send("POST", url), (0.001, 0.001)):
                pass
        emulator.faults.clear()
        emulator.next("403")
        with pytest.raises(ProviderError) as caught:
            async for _ in media.asked(lambda: line.send("POST", url), (0.001, 0.001)):
                pass
        assert caught.value.kind == "denied"


@pytest.mark.parametrize(
    ("content", "header", "name", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n", "", "", "image/png"),
        (b"\x89PNG\r\n\x1a\n", "image/webp; q=1", "a.jpg", "image/webp"),
        (b"RIFF\0\0\0\0WAVEfmt ", "binary/octet-stream", "a.bin", "audio/wav"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "", "", "image/webp"),
        (b"\0\0\0\x18ftypisom", "application/octet-stream", "", "video/mp4"),
        (b"\0\0\0\x18ftypM4A ", "", "", "audio/mp4"),
        (b"?", "", "https://x/y.mp3?token=1", "audio/mpeg"),
        (b"?", "audio/x-wav", "", "audio/wav"),
        (b"?", "", "", "application/octet-stream"),
    ],
)
def test_the_type_of_a_result(content: bytes, header: str, name: str, kind: str) -> None:
    assert media.media_type(content, header, name) == kind


def test_data_uris() -> None:
    assert media.from_data_uri(media.data_uri(b"\0\xff", "image/png")) == ("image/png", b"\0\xff")
    assert media.from_data_uri("data:text/plain,a%20b") == ("text/plain", b"a b")
    for broken in ("data:image/png;base64,***", "data:"):
        with pytest.raises(ProviderError, match="data URI"):
            media.from_data_uri(broken)
