"""Who could answer: names, aliases, fallbacks, what is needed, what has ended."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs
from tests.support.routing import Moving, Still, desk_of, image, text

from lightfast.core.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from lightfast.core.tasks import TaskGroup
from lightfast.gateway.calls import ProviderRecord
from lightfast.gateway.ports import Load
from lightfast.gateway.routing.circuits import FIRST_PAUSE_S
from lightfast.sdk import Model

STUDIO = Still("studio", [Model("image", ("image",), procedural=True), Model("text", ("text",), procedural=True)])
STUDIO.local = True


async def test_a_name_means_that_model_alone() -> None:
    desk = desk_of(Still("one", [text("a"), text("b"), image("c")]))
    assert await desk.names("one/b") == ["one/b"]
    assert await desk.names("one/c", "image", strict=True) == ["one/c"]
    with pytest.raises(InvalidArgument, match="one/c makes image, not text"):
        await desk.names("one/c", "text")
    with pytest.raises(NotFound, match=r"there is no model 'one/bb': did you mean 'one/b'\?") as caught:
        await desk.names("one/bb")
    assert caught.value.reason == "MODEL_NOT_FOUND"
    with pytest.raises(InvalidArgument, match="nothing makes 'imge': did you mean 'image'"):
        await desk.names("one/a", "imge")


async def test_a_model_that_is_not_listed_is_asked_for_by_name() -> None:
    async with TaskGroup("test") as tasks:
        desk = desk_of(Moving("many", [text("found")]), tasks=tasks)
        assert await desk.names("many/unlisted-70b:free") == ["many/unlisted-70b:free"]
        assert await desk.names("many/found") == ["many/found"]
        with pytest.raises(NotFound):
            await desk.names("many/none")


async def test_a_provider_that_breaks_the_contract_over_a_name_has_no_such_model() -> None:
    class Odd(Still):
        def model(self, name: str) -> Model | None:
            if name == "raise":
                raise RuntimeError("no luck")
            return Model("another", ("text",)) if name == "wrong" else Model(name, ())

    desk = desk_of(Odd("odd", [text("a")]))
    for name in ("raise", "wrong", "nothing"):
        with capture_logs() as logs, pytest.raises(NotFound):
            await desk.names(f"odd/{name}")
        assert logs, name


async def test_without_a_name_the_first_that_can_be_used_and_one_of_each_other() -> None:
    first, second = Still("first", [text("a"), text("b")]), Still("second", [text("c")])
    desk = desk_of(first, second, STUDIO)
    assert await desk.names("", "text") == ["first/a", "second/c"]
    desk.accounts.troubles["first"] = "no key"
    assert await desk.names("", "text") == ["second/c"]
    desk.accounts.troubles["second"] = "no key"
    assert await desk.names("", "text") == ["studio/text"]
    assert await desk.names("", "image") == ["studio/image"]
    with pytest.raises(NotFound, match="no model here makes video"):
        await desk.names("", "video")


async def test_a_service_with_a_key_comes_first_and_one_without_is_left_out() -> None:
    remote = Still("remote", [image("paint")], needs_key=True)
    desk = desk_of(STUDIO, remote)
    desk.accounts.keyless.add("remote")
    assert await desk.names("", "image") == ["studio/image"]
    assert await desk.names("", "image") == ["studio/image"]
    assert desk.accounts.looked == ["remote"]  # once; from then on the sessions know
    desk.accounts.keyless.clear()
    desk.accounts.troubles.clear()
    assert await desk.names("", "image") == ["remote/paint"]


async def test_who_asks_by_name_for_what_has_no_key_hears_it_from_the_sessions() -> None:
    desk = desk_of(Still("remote", [image("paint")], needs_key=True), STUDIO)
    desk.accounts.keyless.add("remote")
    assert await desk.names("remote/paint") == ["remote/paint"]
    assert await desk.names("remote/paint", fallbacks=("studio/image",)) == ["studio/image"]


async def test_an_alias_of_the_user_is_a_chain_in_order() -> None:
    desk = desk_of(
        Still("one", [text("a"), image("p")]),
        Still("two", [text("b")]),
        own={"quick": ("two/b", "one/a"), "all": ("quick", "one/p"), "fast": ("one/a", "fast")},
    )
    assert await desk.names("quick") == ["two/b", "one/a"]
    assert await desk.names("quick", strict=True) == ["two/b"]
    assert await desk.names("all", "text") == ["two/b", "one/a"]
    assert await desk.names("all", "image") == ["one/p"]
    assert await desk.names("all") == ["two/b", "one/a"]
    assert await desk.names("fast") == ["one/a", "two/b"]
    with pytest.raises(InvalidArgument, match=r"the alias 'quick' leads to no model that can do it: two/b makes text"):
        await desk.names("quick", "image")


WRONG: dict[str, tuple[dict[str, tuple[str, ...]], type[Exception], str]] = {
    "a circle": ({"x": ("y",), "y": ("one/a", "x")}, FailedPrecondition, r"in a circle: x → y → x"),
    "itself": ({"x": ("x",)}, FailedPrecondition, r"in a circle: x → x"),
    "an unknown model": (
        {"x": ("one/zz", "one/yy")},
        NotFound,
        r"in gateway.aliases.x: there is no model 'one/zz': did you mean",
    ),
    "an unknown provider": ({"x": ("oen/a",)}, NotFound, r"did you mean 'one/a'"),
}


@pytest.mark.parametrize("case", WRONG)
async def test_a_wrong_alias_is_an_error_at_use_and_a_warning_before(case: str) -> None:
    own, kind, said = WRONG[case]
    desk = desk_of(Still("one", [text("a")]), own=own)
    with capture_logs() as logs:
        assert desk.routing.check_settings()
    assert [entry["event"] for entry in logs] == ["an alias is wrong"] * len(logs)
    with pytest.raises(kind, match=said):
        await desk.names("x")
    assert await desk.names("one/a") == ["one/a"]


async def test_one_unknown_member_does_not_end_an_alias() -> None:
    """A model that is gone from a server costs the show nothing while another of the chain is there; it is told."""
    desk = desk_of(Still("one", [text("a"), text("b")]), own={"x": ("one/zz", "one/b", "one/a")})
    with capture_logs() as logs:
        assert len(desk.routing.check_settings()) == 1
    assert [entry["event"] for entry in logs] == ["an alias is wrong"]
    assert await desk.names("x") == ["one/b", "one/a"]


async def test_sound_aliases_are_not_warned_of() -> None:
    away = Still("away")
    desk = desk_of(
        Still("one", [text("a")]),
        away,
        own={"x": ("one/a", "away/llama", "cheap"), "y": ("x",)},
        fallbacks={"text": ("y",)},
    )
    assert desk.routing.check_settings() == []
    assert await desk.names("x") == ["one/a"]
    wrong = desk_of(Still("one", [text("a")]), fallbacks={"image": ("one/a",)})
    assert wrong.routing.check_settings() == ["gateway.fallbacks.image: one/a makes text, not image"]


async def test_an_alias_whose_providers_are_all_away_says_why() -> None:
    desk = desk_of(Still("away"), own={"x": ("away/llama",)})
    with pytest.raises(Unavailable, match=r"no model of the alias 'x' is here: away/llama") as caught:
        await desk.names("x")
    assert caught.value.reason == "NO_MODEL_AVAILABLE"


async def test_fallbacks_are_those_of_the_request_else_of_the_settings() -> None:
    desk = desk_of(
        Still("one", [text("a"), image("p")]),
        Still("two", [text("b")]),
        Still("three", [text("c")]),
        own={"safe": ("three/c", "one/p")},
        fallbacks={"text": ("two/b",)},
    )
    assert await desk.names("one/a") == ["one/a", "two/b"]
    assert await desk.names("one/a", fallbacks=("safe", "one/a")) == ["one/a", "three/c"]
    assert await desk.names("one/a", fallbacks=("safe",), strict=True) == ["one/a"]
    assert await desk.names("one/p") == ["one/p"]
    assert await desk.names("safe", "text") == ["three/c"]  # an alias is its own chain
    assert await desk.names("safe", "text", fallbacks=("two/b",)) == ["three/c", "two/b"]
    with pytest.raises(NotFound, match="there is no model 'two/x'") as caught:
        await desk.names("one/a", fallbacks=("two/x",))
    assert caught.value.field == "fallbacks"
    with pytest.raises(InvalidArgument, match="one/p makes image, not text"):
        await desk.names("one/a", fallbacks=("one/p",))


async def test_a_model_whose_plugin_could_not_be_loaded_is_named_with_what_is_missing() -> None:
    desk = desk_of(Still("one", [text("a")]))
    why = "x is not installed: run pip install 'lightfast[x]'"
    desk.routing.providers = lambda: [
        ProviderRecord("away", "", available=False, reason=why, local=False, plugin="away")
    ]
    with pytest.raises(Unavailable, match=r"away/b cannot be used: x is not installed: run pip"):
        await desk.names("away/b")
    with pytest.raises(NotFound, match="there is no model 'nobody/b'"):
        await desk.names("nobody/b")


async def test_what_is_needed_is_looked_at() -> None:
    able = Model("able", ("text",), inputs=("text", "image"), capabilities=("schema", "system"))
    desk = desk_of(Still("one", [text("plain"), able]), own={"x": ("one/plain", "one/able")})
    schema = frozenset(("schema",))
    assert await desk.names("", "text", needs=schema) == ["one/able"]
    assert await desk.names("x", needs=schema) == ["one/able"]
    assert await desk.names("x", needs=frozenset(("input:image",))) == ["one/able"]
    with pytest.raises(InvalidArgument, match="one/plain cannot do 'schema'"):
        await desk.names("one/plain", needs=schema)
    with pytest.raises(InvalidArgument, match="one/plain takes text, not image"):
        await desk.names("one/plain", needs=frozenset(("input:image",)))
    with pytest.raises(
        InvalidArgument, match="no model here that makes text can do it: one/plain cannot do 'transcribe'; one/able"
    ):
        await desk.names("", "text", needs=frozenset(("transcribe",)))
    assert await desk.names("one/able", fallbacks=("one/plain",), needs=schema) == ["one/able"]


async def test_a_model_that_works_on_sources_is_chosen_only_with_enough_of_them() -> None:
    cut = Model("cut", ("video",), inputs=("text", "video"), needs_sources=1)
    fade = Model("fade", ("video",), inputs=("text", "video", "image"), needs_sources=2)
    move = Model("move", ("video",), inputs=("text", "image"))
    desk = desk_of(Still("one", [cut, fade, move]), own={"x": ("one/cut", "one/move")})
    assert await desk.names("", "video") == ["one/move"]
    assert await desk.names("x") == ["one/move"]
    assert await desk.names("", "video", sources=("video",)) == ["one/cut"]
    assert await desk.names("", "video", sources=("image", "video")) == ["one/fade"]
    assert await desk.names("best", "video", sources=("image",)) == ["one/move"]
    assert await desk.names("one/cut") == ["one/cut"]  # by its name: it says itself what it misses
    with pytest.raises(InvalidArgument, match=r"one/cut takes text, video, not audio; one/fade takes"):
        await desk.names("", "video", sources=("audio",))
    with pytest.raises(InvalidArgument, match="one/fade works on 2 sources, 1 are given"):
        await desk_of(Still("one", [fade])).names("", "video", sources=("video",))
    told = desk.routing.aliases_of(desk.catalog.listed())
    assert told["one/cut"] == ["best", "fast", "x"]


async def test_a_window_that_is_too_small_is_for_when_there_is_no_other() -> None:
    desk = desk_of(
        Still("one", [text("small", context_tokens=1000), text("large", context_tokens=9000)]),
        own={"x": ("one/small", "one/large")},
    )
    assert await desk.names("x", load=Load(input_tokens=500)) == ["one/small", "one/large"]
    assert await desk.names("x", load=Load(input_tokens=5000)) == ["one/large"]
    assert await desk.names("x", load=Load(input_tokens=50_000)) == ["one/small", "one/large"]


async def test_a_retired_model_is_refused_with_what_takes_its_place() -> None:
    desk = desk_of(
        Still("one", [text("gpt-4", retirement_date="2020-01-01"), text("gpt-4b"), image("gpt-4i")]),
        own={"x": ("one/gpt-4", "one/gpt-4b")},
    )
    with pytest.raises(FailedPrecondition, match=r"one/gpt-4 was retired on 2020-01-01: use one/gpt-4b") as caught:
        await desk.names("one/gpt-4", fallbacks=("one/gpt-4b",))
    assert caught.value.reason == "MODEL_RETIRED"
    assert caught.value.metadata["replacement"] == "one/gpt-4b"
    assert await desk.names("x") == ["one/gpt-4b"]
    assert await desk.names("", "text") == ["one/gpt-4b"]
    assert await desk.names("best") == ["one/gpt-4b"]
    standing = desk.routing.standing(desk.catalog.named("one/gpt-4"))
    assert (standing.available, standing.reason) == (False, "retired on 2020-01-01")


async def test_a_deprecated_model_is_warned_of_once_a_day() -> None:
    desk = desk_of(
        Still("one", [text("old", deprecation_date="2020-01-01", retirement_date="2999-01-01"), text("new")])
    )
    for day in range(3):
        with capture_logs() as logs:
            for _ in range(3):
                assert await desk.names("one/old") == ["one/old"]
        warned = [entry for entry in logs if entry["event"] == "a deprecated model is used"]
        assert len(warned) == 1, day
        assert warned[0]["instead"] == "one/new"
        assert warned[0]["notice"] == "deprecated since 2020-01-01, ends on 2999-01-01"
        desk.clock.advance(86_400)
    assert await desk.names("", "text") == ["one/new"]


async def test_an_open_circuit_leads_elsewhere_and_without_an_elsewhere_says_when() -> None:
    desk = desk_of(Still("one", [text("a")]), Still("two", [text("b")]), own={"x": ("one/a", "two/b")})
    desk.fail("one/a", 5)
    assert await desk.names("x") == ["two/b"]
    with pytest.raises(Unavailable, match="one/a: it failed again and again") as caught:
        await desk.names("one/a")
    assert caught.value.reason == "CIRCUIT_OPEN"
    assert caught.value.retry_after == pytest.approx(FIRST_PAUSE_S)
    desk.clock.advance(FIRST_PAUSE_S)
    assert await desk.names("x") == ["one/a", "two/b"]
    assert desk.routing.allowed("one/a")
    assert not desk.routing.allowed("one/a")
    assert await desk.names("x") == ["two/b"]
    desk.attempt("one/a")
    assert await desk.names("x") == ["one/a", "two/b"]


async def test_plugins_that_are_still_loading_are_waited_for() -> None:
    desk = desk_of(Still("one", [text("a")]))
    late = Still("late", [text("b")])

    async def settled() -> None:
        desk.catalog.add(late, "lates", late.models())

    desk.routing.settled = settled
    assert await desk.names("late/b") == ["late/b"]
    desk.routing.settled = _nothing
    with pytest.raises(NotFound):
        await desk.names("none/c")


async def _nothing() -> None:
    return


async def test_a_provider_that_leaves_takes_what_was_known_of_it_along() -> None:
    one = Still("one", [text("a")])
    desk = desk_of(one)
    desk.fail("one/a", 5)
    assert desk.routing.circuits.down()
    assert desk.catalog.remove(one)
    assert not desk.routing.circuits.down()
    desk.catalog.add(one, "ones", one.models())
    assert await desk.names("one/a") == ["one/a"]


def test_the_aliases_of_each_model_are_told() -> None:
    desk = desk_of(Still("one", [text("a", "fast"), text("b", "best")]), STUDIO, own={"mine": ("studio/text", "one/b")})
    desk.tariffs.usd = {"one/a": 1.0}
    told = desk.routing.aliases_of(desk.catalog.listed())
    assert told == {
        "one/a": ["cheap", "fast"],
        "one/b": ["best", "mine"],
        "studio/image": ["best", "fast", "local"],
        "studio/text": ["local", "mine"],
    }
