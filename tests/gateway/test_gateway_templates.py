"""Prompt templates: versions in the store, and a sandbox that hostile ones cannot leave, block or fill."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.plugins import until

from lightfast.core.clock import StillClock
from lightfast.core.errors import (
    DeadlineExceeded,
    Exhausted,
    FailedPrecondition,
    InvalidArgument,
    LightfastError,
    NotFound,
    Unavailable,
)
from lightfast.core.tasks import TaskGroup
from lightfast.gateway.calls import GenerateCall
from lightfast.gateway.catalog import Catalog
from lightfast.gateway.prompts import renderer as renderer_room
from lightfast.gateway.prompts.renderer import Renderer
from lightfast.gateway.prompts.room import PromptRoom
from lightfast.storage.database import Database
from lightfast_link.value import Asset, Value


@asynccontextmanager
async def rooms(folder: Path) -> AsyncIterator[PromptRoom]:
    clock = StillClock()
    db = await Database.open(folder / "store.db", clock=clock)
    async with TaskGroup("test") as tasks:
        room = PromptRoom(db, clock, tasks, Catalog())
        try:
            yield room
        finally:
            await room.close()
            await db.close()


@asynccontextmanager
async def rendering(**options: float) -> AsyncIterator[Renderer]:
    async with TaskGroup("test") as tasks:
        made = Renderer(tasks, **options)
        try:
            yield made
        finally:
            await made.close()


async def test_a_version_is_made_only_where_something_changed(tmp_path: Path) -> None:
    async with rooms(tmp_path) as room:
        book = room.templates
        first = await book.save("caption", "A caption of {{ what }}.", "Be {{ tone }}.")
        assert (first.version, first.arguments) == (1, ("tone", "what"))
        assert await book.save("caption", "A caption of {{ what }}.", "Be {{ tone }}.") == first
        second = await book.save("caption", "A caption of {{ what }}!", "Be {{ tone }}.")
        third = await book.save("caption", "A caption of {{ what }}!", "Be {{ tone }}.", model="one/a")
        assert (second.version, third.version) == (2, 3)
        assert await book.save("caption", first.text, first.system) != first  # back to it is a new version
        assert await book.get("caption@1") == first
        assert (await book.get("caption")).version == 4
        await book.save("another", "{{ x }}")
        assert [(each.name, each.version) for each in await book.listed()] == [("another", 1), ("caption", 4)]
        assert [each.version for each in await book.listed("caption")] == [1, 2, 3, 4]
        assert await book.delete("caption") == 4
        with pytest.raises(NotFound, match="there is no prompt template 'caption'"):
            await book.get("caption")
        with pytest.raises(NotFound):
            await book.delete("caption")
        with pytest.raises(NotFound, match=r"did you mean 'another'\?"):
            await book.get("anothr")
        with pytest.raises(NotFound, match="has no version 7: the newest is 1"):
            await book.get("another@7")
        for wrong in ("another@", "another@x", "another@0"):
            with pytest.raises(InvalidArgument, match="a version is a number from 1"):
                await book.get(wrong)


async def test_templates_outlive_the_daemon(tmp_path: Path) -> None:
    async with rooms(tmp_path) as room:
        saved = await room.templates.save("a", "ü {{ x }}\n", "s", "d", "one/a")
    async with rooms(tmp_path) as room:
        assert await room.templates.get("a") == saved


async def test_saving_at_once_makes_each_version_once(tmp_path: Path) -> None:
    async with rooms(tmp_path) as room:
        texts = [f"{{{{ x }}}} {number % 5}" for number in range(25)]
        saved = await asyncio.gather(*(room.templates.save("a", text) for text in texts))
        versions = await room.templates.listed("a")
        assert [each.version for each in versions] == list(range(1, len(versions) + 1))
        assert {each.version for each in saved} == {each.version for each in versions}


MISTAKES: dict[str, tuple[str, str, str]] = {
    "a name": ("../x", "text", "the name is '../x'"),
    "no name": ("", "text", "the name is ''"),
    "nothing": ("a", " \n", "the template is empty"),
    "too long": ("a", "x" * 70_000, "prompt.text has 70000 characters, the most is 65536"),
    "not closed": ("a", "one\ntwo {{ x", "wrong in line 2: unexpected end of template"),
    "a block": ("a", "{% if x %}\n\n{% endfor %}", "wrong in line 3: Encountered unknown tag 'endfor'"),
    "a filter": ("a", "one\n\n{{ x|nofilter }}", "wrong in line 3: No filter named 'nofilter'"),
    "no Unicode": ("a", "\ud800", "prompt.text is no valid Unicode"),
}


@pytest.mark.parametrize("case", MISTAKES)
async def test_what_cannot_be_a_template_is_refused(tmp_path: Path, case: str) -> None:
    name, text, said = MISTAKES[case]
    async with rooms(tmp_path) as room:
        with pytest.raises(InvalidArgument) as caught:
            await room.templates.save(name, text)
        assert said in caught.value.message
        assert await room.templates.listed() == []


async def test_a_call_with_a_template_is_prepared(tmp_path: Path) -> None:
    async with rooms(tmp_path) as room:
        await room.templates.save("caption", "A {{ tone }} caption: {{ prompt }}", "Be {{ tone }}.", model="one/a")
        call = GenerateCall(
            prompt="a cube", template="caption@1", arguments={"tone": "dry"}, system="In German.", seed=3
        )
        made = await room.prepare(call)
        assert (made.prompt, made.system) == ("A dry caption: a cube", "Be dry.\n\nIn German.")
        assert (made.model, made.template, made.arguments, made.seed) == ("one/a", "", {}, 3)
        assert (await room.prepare(GenerateCall("two/b", template="caption", arguments={"tone": "x"}))).model == "two/b"
        plain = GenerateCall(prompt="as it is")
        assert await room.prepare(plain) is plain
        with pytest.raises(InvalidArgument, match=r"has no argument 'tne': did you mean 'tone'\?"):
            await room.prepare(GenerateCall(template="caption", arguments={"tne": "x"}))
        with pytest.raises(InvalidArgument, match="'caption' needs the arguments tone") as caught:
            await room.prepare(GenerateCall(template="caption"))
        assert caught.value.reason == "TEMPLATE_ARGUMENT"
        await room.templates.save("silent", "Say nothing.")
        with pytest.raises(InvalidArgument, match="'silent' has no argument 'prompt'"):
            await room.prepare(GenerateCall(prompt="hello", template="silent"))


async def test_an_argument_with_a_default_may_be_left_out(tmp_path: Path) -> None:
    async with rooms(tmp_path) as room:
        text = "A {{ tone|default('dry') }} caption{% if place is defined %} in {{ place }}{% endif %}: {{ what }}"
        await room.templates.save("caption", text, "Speak {{ tongue|d('English') }}.")
        made = await room.prepare(GenerateCall(template="caption", arguments={"what": "a cube"}))
        assert (made.prompt, made.system) == ("A dry caption: a cube", "Speak English.")
        given: dict[str, Value] = {"what": "a cube", "tone": "warm", "place": "Rome", "tongue": "German"}
        made = await room.prepare(GenerateCall(template="caption", arguments=given))
        assert (made.prompt, made.system) == ("A warm caption in Rome: a cube", "Speak German.")
        with pytest.raises(InvalidArgument, match=r"'caption' needs the arguments what$"):
            await room.prepare(GenerateCall(template="caption"))
        await room.templates.save("usual", "{{ prompt|default('a house') }} by {{ who|default('nobody') }}, {{ who }}")
        with pytest.raises(InvalidArgument, match="'who' is undefined") as caught:  # it has a default in one place
            await room.prepare(GenerateCall(template="usual"))
        assert caught.value.reason == "TEMPLATE_ARGUMENT"
        made = await room.prepare(GenerateCall(template="usual", arguments={"who": "me"}))
        assert made.prompt == "a house by me, me"


VALUES: dict[str, tuple[str, Value, str]] = {
    "bool": ("{{ x is true }} {{ x }}", True, "True True"),
    "int": ("{{ x + 1 }}", 41, "42"),
    "double": ("{{ x / 2 }}", 0.5, "0.25"),
    "string": ("{{ x|upper }}", "ü{{ y }}", "Ü{{ Y }}"),
    "vector": ("{{ x[1] }} {{ x|length }}", (1.0, 2.0), "2.0 2"),
    "list": ("{% for y in x %}{{ loop.index }}:{{ y }} {% endfor %}", ["a", 2], "1:a 2:2 "),
    "map": ("{{ x.name }} {{ x['n'] }}", {"name": "cube", "n": 3}, "cube 3"),
    "asset": ("{{ x.media_type }}", Asset("asset://1", "image/png", "0" * 64, 9), "image/png"),
    "no autoescape": ("{{ x }}", "<b> & 'c'", "<b> & 'c'"),
}


async def test_values_keep_their_types() -> None:
    async with rendering() as renderer:
        for case, (text, value, expected) in VALUES.items():
            assert (await renderer.render(text, "", {"x": value})).text == expected, case
        with pytest.raises(InvalidArgument, match="the argument 'x' is bytes"):
            await renderer.render("{{ x }}", "", {"x": b"1"})
        with pytest.raises(InvalidArgument, match="the most is 262144"):
            await renderer.render("{{ x }}", "", {"x": "a" * 300_000})


HOSTILE: dict[str, tuple[str, str]] = {
    "a long range": ("{% for a in range(10**9) %}x{% endfor %}", "TEMPLATE_TOO_MUCH"),
    "a long product": ("{{ 'a' * 10**9 }}", "TEMPLATE_TOO_MUCH"),
    "a long list": ("{{ [0] * 10**9 }}", "TEMPLATE_TOO_MUCH"),
    "a product of products": ("{{ ('a' * 900000) * 900000 }}", "TEMPLATE_TOO_MUCH"),
    "a large power": ("{{ 9 ** (9 ** 9) }}", "TEMPLATE_TOO_MUCH"),
    "much output": ("{% for a in range(9999) %}{{ 'x' * 100 }}{% endfor %}", "TEMPLATE_TOO_MUCH"),
    "a wide format": ("{{ '{:99999999999}'.format(1) }}", "TEMPLATE_TOO_MUCH"),
    "a wide percent": ("{{ '%99999999999d' % 1 }}", "TEMPLATE_TOO_MUCH"),
    "a wide filter": ("{{ 'x'|center(10**11) }}", "TEMPLATE_TOO_MUCH"),
    "a wide method": ("{{ 'x'.ljust(10**11) }}", "TEMPLATE_TOO_MUCH"),
    "doubling": (
        "{% set n = namespace(x='aaaaaaaaaa') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
        "TEMPLATE_TOO_MUCH",
    ),
    "recursion": ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "TEMPLATE_TOO_MUCH"),
    "deep brackets": ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "TEMPLATE_TOO_MUCH"),
    "a long sum": ("{{ " + "1+" * 30_000 + "1 }}", "TEMPLATE_TOO_MUCH"),
    "a class": ("{{ ().__class__.__bases__[0].__subclasses__() }}", "TEMPLATE_FORBIDDEN"),
    "a class by item": ("{{ ''['__class__'] }}", "TEMPLATE_FORBIDDEN"),
    "a class by filter": ("{{ ''|attr('__class__') }}", "TEMPLATE_FORBIDDEN"),
    "a class by format": ("{{ '{0.__class__.__mro__}'.format(1) }}", "TEMPLATE_FORBIDDEN"),
    "globals of a function": ("{{ range.__globals__ }}", "TEMPLATE_FORBIDDEN"),
    "globals of a macro": ("{% macro f() %}{% endmacro %}{{ f.__init__.__globals__ }}", "TEMPLATE_FORBIDDEN"),
    "its own context": ("{{ self._TemplateReference__context }}", "TEMPLATE_FORBIDDEN"),
    "changing an argument": ("{% set _ = x.append(1) %}", "TEMPLATE_FORBIDDEN"),
    "a file": ("{% include '/etc/passwd' %}", "TEMPLATE_FORBIDDEN"),
    "an import": ("{% from 'os' import path %}", "TEMPLATE_FORBIDDEN"),
    "an unknown name": ("line\n\n{{ nobody }}", "TEMPLATE_ARGUMENT"),
    "a helper of Jinja": ("{{ lipsum(n=10**9) }}", "TEMPLATE_ARGUMENT"),
    "a division": ("{{ 1 // 0 }}", "TEMPLATE_FAILED"),
}


async def test_what_is_hostile_is_a_clear_error_and_hurts_nobody() -> None:
    async with rendering(render_s=20.0) as renderer:
        for case, (text, reason) in HOSTILE.items():
            with pytest.raises(InvalidArgument) as caught:
                await renderer.render(text, "", {"x": [1]})
            assert caught.value.reason == reason, (case, caught.value.message)
            assert (await renderer.render("{{ x[0] }}", "", {"x": [1]})).text == "1", case
        with pytest.raises(InvalidArgument, match="in line 3: 'nobody' is undefined"):
            await renderer.render(HOSTILE["an unknown name"][0], "", {})
        with pytest.raises(InvalidArgument, match="in line 2 of the system text: 'nobody' is undefined"):
            await renderer.render("fine", "a\n{{ nobody }}", {})


SLOW = {
    "a loop in a loop": "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
    "a list of lists": "{% set a = [1, 1] %}" + "{% set a = [a, a] %}" * 40 + "{{ a }}",
    "a sort in a loop": "{% for a in range(9999) %}{% set _ = range(9999)|sort(reverse=true)|list %}{% endfor %}",
}


@pytest.mark.parametrize("case", SLOW)
async def test_what_goes_on_and_on_is_ended_while_the_loop_goes_on(case: str) -> None:
    async with rendering(render_s=60.0) as renderer:
        for render_s in (1.5, 6.0, 24.0):  # the next one where a busy machine hardly let the loop go on
            await renderer.render("warm", "", {})
            first = renderer.pid
            renderer._render_s = render_s
            slow = asyncio.ensure_future(renderer.render(SLOW[case], "", {}))
            turns = 0
            while not slow.done():
                await asyncio.sleep(0.01)
                turns += 1
            with pytest.raises((DeadlineExceeded, InvalidArgument)) as caught:
                await slow
            assert caught.value.reason in {"TEMPLATE_TOO_SLOW", "TEMPLATE_TOO_MUCH"}
            assert renderer.pid != first or caught.value.reason == "TEMPLATE_TOO_MUCH"
            renderer._render_s = 60.0
            assert (await renderer.render("after {{ x }}", "", {"x": 1})).text == "after 1"
            if turns > 5:
                return
        raise AssertionError("the loop did not go on")


async def test_a_process_that_dies_is_replaced() -> None:
    async with rendering() as renderer:
        await renderer.render("x", "", {})
        os.kill(renderer.pid, 9)
        await asyncio.sleep(0.05)
        outcomes: list[object] = []
        for _ in range(2):
            try:
                outcomes.append((await renderer.render("{{ x }}", "", {"x": "y"})).text)
            except LightfastError as error:
                outcomes.append(error.reason)
        assert outcomes[-1] == "y"


async def test_a_wait_that_is_cancelled_spoils_no_other() -> None:
    async with rendering() as renderer:
        await renderer.render("x", "", {})
        slow = asyncio.ensure_future(renderer.render(SLOW["a loop in a loop"], "", {}))
        await asyncio.sleep(0.1)
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        assert (await renderer.render("{{ x }}", "", {"x": "mine"})).text == "mine"


async def test_the_process_has_no_environment_and_ends_when_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTFAST_PLANTED", "sk-planted")
    async with rendering(idle_s=0.05) as renderer:
        await renderer.render("x", "", {})
        environ = Path(f"/proc/{renderer.pid}/environ")
        if environ.exists():
            assert b"planted" not in environ.read_bytes()
        await until(lambda: renderer.pid == 0, "the end of the idle process")
        assert (await renderer.render("again", "", {})).text == "again"


async def test_the_queue_is_bounded_and_a_closed_room_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renderer_room, "MOST_WAITING", 3)
    async with rendering() as renderer:
        asked = [asyncio.ensure_future(renderer.render("x", "", {})) for _ in range(5)]
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(each, Exhausted) for each in found) == 2
        await renderer.close()
        with pytest.raises(Unavailable, match="stopping"):
            await renderer.render("x", "", {})


async def test_a_window_needs_views(tmp_path: Path) -> None:
    from lightfast.gateway.calls import ModelRecord, Window
    from lightfast.sdk import Model

    async with rooms(tmp_path) as room:
        record = ModelRecord("one/a", "one", Model("a", ("text",), context_tokens=1000))
        with pytest.raises(FailedPrecondition, match="context cannot be packed here"):
            await room.fit(GenerateCall("one/a", prompt="x", window=Window(("//",))), record)
