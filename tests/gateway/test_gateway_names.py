"""Names that nobody lists, and settings that change while it runs."""

from __future__ import annotations

import pytest
from tests.support.routing import Desk, Moving, Still, desk_of, text

from lightfast.core.clock import StillClock
from lightfast.core.errors import FailedPrecondition, NotFound
from lightfast.core.tasks import TaskGroup
from lightfast.gateway.calls import ModelRecord
from lightfast.gateway.cost.book import Facts, PriceBook
from lightfast.gateway.leash import Leash, is_local
from lightfast.gateway.routing.aliases import Aliases
from lightfast.gateway.routing.discovery import AGAIN_S
from lightfast.sdk import Model, ProviderError, Session
from lightfast_providers.anthropic.provider import Anthropic
from lightfast_providers.gemini.provider import Gemini
from lightfast_providers.openai.provider import OpenAI


class Whole(Moving):
    """Takes any name, and lists all it has."""

    whole = True

    def model(self, name: str) -> Model | None:
        return Model(name, ("text",))

    def lists_all(self, session: Session) -> bool:
        return self.whole


def desk_with(service: Whole, tasks: TaskGroup, **settings: dict[str, tuple[str, ...]]) -> Desk:
    service.listed = [text("old-luna")]
    return desk_of(service, Still("other", [text("x")]), tasks=tasks, **settings)


async def test_a_slip_is_told_at_once_where_the_list_is_whole() -> None:
    async with TaskGroup("test") as tasks:
        service = Whole("service", [text("gpt-luna"), text("gpt-sol")])
        desk = desk_with(service, tasks)
        for name in ("service/gpt-lunna", "service/gtp-luna", "service/gpt_luna"):
            with pytest.raises(NotFound, match="did you mean 'service/gpt-luna'") as caught:
                await desk.names(name)
            assert (caught.value.reason, caught.value.field) == ("MODEL_NOT_FOUND", "model")
        with pytest.raises(NotFound, match="did you mean 'service/gpt-sol'") as caught:
            await desk.names("other/x", fallbacks=("service/gpt-soll",))
        assert caught.value.field == "fallbacks"
        service.found = [text("gpt-luna"), text("gpt-lunna")]
        desk.clock.advance(AGAIN_S)
        assert await desk.names("service/gpt-lunna") == ["service/gpt-lunna"]  # it is there by now


@pytest.mark.parametrize(
    "name",
    [
        "gpt-6-luna-2027-03-02",  # another day
        "gpt-6-luna",  # the short name of one with a date
        "gpt-6-luna-latest",
        "gpt-7-luna-2027-01-01",  # the next version
        "gpt-6.1-luna-2027-01-01",
        "gpt-6-luna-mini-2027-01-01",  # its small sister
        "ft:gpt-6-luna-2027-01-01:house::wxyz",  # an account's own
        "o9",  # like none
    ],
)
async def test_what_may_be_another_model_is_no_slip(name: str) -> None:
    async with TaskGroup("test") as tasks:
        listed = [text("gpt-6-luna-2027-01-01"), text("ft:gpt-6-luna-2027-01-01:house::abcd")]
        desk = desk_with(Whole("service", listed), tasks)
        assert await desk.names(f"service/{name}") == [f"service/{name}"]
        with pytest.raises(NotFound, match="did you mean 'service/gpt-6-luna-2027-01-01'"):
            await desk.names("service/gpt-6-lnua-2027-01-01")


async def test_what_the_settings_name_is_no_slip() -> None:
    async with TaskGroup("test") as tasks:
        desk = desk_with(Whole("service", [text("luna")]), tasks, own={"mine": ("service/lunar",)})
        assert await desk.names("service/lunar") == ["service/lunar"]
        assert await desk.names("mine") == ["service/lunar"]
        with pytest.raises(NotFound, match="did you mean 'service/luna'"):
            await desk.names("service/lunas")
        desk.routing.priced = {"service/lunas"}.__contains__
        assert await desk.names("service/lunas") == ["service/lunas"]


async def test_where_any_name_may_be_nothing_is_a_slip() -> None:
    async with TaskGroup("test") as tasks:
        some = Whole("service", [text("luna")])
        some.whole = False
        desk = desk_with(some, tasks)
        assert await desk.names("service/lunaa") == ["service/lunaa"]
        desk.clock.advance(AGAIN_S)
        assert await desk.names("service/lunaa") == ["service/lunaa"]
        assert some.asked == 1  # it would have to be waited for again and again
        away = Whole("service", [text("luna")])
        away.trouble = ProviderError("it does not answer", kind="unavailable")
        assert await desk_with(away, tasks).names("service/old-lunaa") == ["service/old-lunaa"]


@pytest.mark.parametrize("provider", [OpenAI(), Anthropic(), Gemini()], ids=["openai", "anthropic", "gemini"])
def test_a_service_lists_all_and_a_stand_in_may_not(provider: OpenAI | Anthropic | Gemini) -> None:
    assert provider.lists_all(Session())
    assert not provider.lists_all(Session(base_url="http://127.0.0.1:8080/v1"))
    assert not OpenAI(base_url="http://127.0.0.1:8080/v1").lists_all(Session())


async def test_a_model_that_runs_elsewhere_is_not_local() -> None:
    here, there = text("here"), text("there", remote=True)
    desk = desk_of(Still("server", [here, there], local=True))
    assert await desk.names("local") == ["server/here"]
    record = desk.catalog.named("server/there")
    assert not is_local(record, desk.catalog.provider("server"))
    with pytest.raises(FailedPrecondition, match="runs on another machine, which was not approved"):
        await desk.routing.ordered("server/there", "text", leash=Leash(spend=False, network=False))
    book = PriceBook(StillClock(), lambda _: Facts(local=True))
    assert book.tariff(desk.catalog.named("server/here"), {}).free
    assert not book.tariff(record, {}).free


def sound(name: str, *tags: str, **fields: bool) -> Model:
    return Model(name, ("audio",), tags=tags, **fields)  # type: ignore[arg-type]


async def test_audio_is_a_sound_whichever_keys_there_are() -> None:
    """Who asks for the sound of rain hears rain, not somebody who reads that aloud."""
    studio = Still("studio", [sound("speech", "speech", procedural=True), sound("audio", procedural=True)], local=True)
    speaks = Still("speaks", [sound("voice", "speech", "best")], needs_key=True)
    both = Still("both", [sound("talk", "speech", "best"), sound("song", "music"), sound("noise")], needs_key=True)
    assert await desk_of(studio).names("", "audio") == ["studio/audio"]
    assert await desk_of(studio, speaks).names("", "audio") == ["studio/audio"]
    desk = desk_of(studio, speaks, both)
    assert await desk.names("", "audio") == ["both/noise"]
    assert await desk.names("best", "audio") == ["both/noise"]
    assert await desk.names("speaks/voice", "audio") == ["speaks/voice"]
    assert await desk_of(speaks).names("", "audio") == ["speaks/voice"]  # nothing else is there


async def test_aliases_and_chains_follow_the_settings() -> None:
    desk = desk_of(Still("one", [text("a"), text("b")]), own={"mine": ("one/a",)})
    under_way = await desk.routing.ordered("mine", "text")
    desk.routing.follow(Aliases({"mine": ("one/b",), "yours": ("mine",)}, {"text": ("one/b",)}))
    assert await desk.names("mine") == await desk.names("yours") == ["one/b"]
    assert await desk.names("one/a") == ["one/a", "one/b"]
    assert [record.name for record in under_way] == ["one/a"]


def test_prices_follow_the_settings() -> None:
    book = PriceBook(StillClock(), lambda _: Facts(), {"one": {"a": "output 1/M"}})
    record = ModelRecord("one/a", "one", text("a"))
    before = book.tariff(record, {})
    book.follow({"one": {"a": "output 3/M", "b*": "free"}})
    assert [price.usd for price in book.prices(record)] == [3e-6]
    assert [rate.shown().usd for rate in before.rates] == [1e-6]  # what was held by it is paid by it
    assert (book.names("one/a"), book.names("one/b*"), book.names("one/b1"), book.names("two/a")) == (
        True, True, False, False,
    )  # fmt: skip
