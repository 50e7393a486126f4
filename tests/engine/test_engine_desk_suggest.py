"""What may come next: recorded sessions, a part of them kept apart; against always naming what is most frequent."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

from tests.support.desk_back import ASKER, desk_house

from lightfast.engine.desk.coded import parse_command
from lightfast.engine.desk.suggest import MOST_SIGNATURES, Suggester, signature

HABITS = {
    "render": ("tc:add a light", "tc:render the frame", "cl:/render", "wf:nightly_render", "ms:settings|good"),
    "music": ("tc:set the tempo", "tc:record eight bars", "tc:mute the bass", "tc:export the mix", "wf:publish_album"),
    "plan": ("wf:project_planning", "cl:conversation", "ts:auto|0.3|the tour", "cl:tour", "ms:dates|in May"),
    "check": ("wf:morning-check", "cl:/status", "tc:restart the bridge", "cl:/status"),
}


def sessions(count: int, seed: int) -> list[list[str]]:
    """Return sessions of somebody with habits, who leaves out one step in eight and puts in another as often."""
    chance = random.Random(seed)
    everything = sorted({line for habit in HABITS.values() for line in habit})
    found = []
    for _ in range(count):
        said: list[str] = []
        for _ in range(chance.randint(2, 4)):
            for line in HABITS[chance.choices(list(HABITS), [5, 3, 1, 1])[0]]:
                if chance.random() < 0.12:
                    said.append(chance.choice(everything))
                if chance.random() >= 0.12:
                    said.append(line)
        found.append(said)
    return found


def test_suggestions_beat_the_most_frequent_on_sessions_kept_apart() -> None:
    recorded = sessions(90, 7)
    learnt, apart = recorded[:60], recorded[60:]
    suggester = Suggester()
    for number, session in enumerate(learnt):
        for line in session:
            suggester.learn(f"learnt {number}", signature(parse_command(line)), line)
    frequent = [line for line, _ in Counter(line for session in learnt for line in session).most_common(3)]
    asked = first = three = plain_first = plain_three = 0
    for number, session in enumerate(apart):
        for place, line in enumerate(session):
            if place:
                lines = [each.line for each in suggester.suggest(f"apart {number}", 3)]
                asked += 1
                first += lines[:1] == [line]
                three += line in lines
                plain_first += line == frequent[0]
                plain_three += line in frequent
            suggester.learn(f"apart {number}", signature(parse_command(line)), line)
    print(f"first {first / asked:.3f} against {plain_first / asked:.3f}")
    print(f"three {three / asked:.3f} against {plain_three / asked:.3f}")
    assert first > 3 * plain_first
    assert three > 1.5 * plain_three


def test_a_failure_changes_what_comes_next() -> None:
    suggester = Suggester()
    for round_ in range(6):
        client = f"c{round_}"
        suggester.learn(client, "wf:render", "wf:render")
        if round_ % 2:
            suggester.failed(client, "wf:render")
            suggester.learn(client, "cl:log", "cl:log")
        else:
            suggester.learn(client, "tc:share it", "tc:share it")
    suggester.learn("now", "wf:render", "wf:render")
    assert suggester.suggest("now", 1)[0].line == "tc:share it"
    suggester.failed("now", "wf:render")
    assert suggester.suggest("now", 1)[0].line == "cl:log"


def test_what_goes_on_now_counts_and_reasons_are_given() -> None:
    suggester = Suggester()
    for line in ("tc:a", "cl:tour", "cl:poster", "tc:b"):
        suggester.learn("c", line, line)
    found = suggester.suggest("c", 4, ("su:task|the poster is printed|0.5",))
    assert found[0].line == "cl:poster"
    assert found[0].reason == "it belongs to what goes on now"
    assert all(each.reason and 0.0 < each.score <= 1.0 for each in found)
    assert "tc:b" not in {each.line for each in found}


def test_it_is_bounded() -> None:
    suggester = Suggester()
    for number in range(MOST_SIGNATURES + 500):
        suggester.learn(f"c{number % 2_000}", f"tc:{number}", f"tc:{number}")
    assert len(suggester._lines) == MOST_SIGNATURES
    assert len(suggester._counts[()]) == MOST_SIGNATURES
    assert len(suggester._clients) == 1_000
    assert suggester.suggest("nobody", 3)


async def test_the_desk_suggests_from_what_was_said_also_after_a_restart(tmp_path: Path) -> None:
    async with desk_house(tmp_path) as house:
        assert house.desk.suggest("client:test") == []
        for _ in range(3):
            for line in ("ms:a|b", "wf:nightly_render", "cl:conversation"):
                await house.desk.say(line, ASKER, "client:test")
        await house.told("desk.loaded", count=1)
    async with desk_house(tmp_path, workflows=()) as house:
        lines = [each.line for each in house.desk.suggest("client:test", 5)]
        assert lines[0] == "ms:a|b"
        assert "wf:nightly_render" not in lines  # it is gone, so it cannot be said
        ack = await house.desk.say("ms:a|b", ASKER, "client:test")
        assert ack.next_steps
