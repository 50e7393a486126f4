"""Writes facts.jsonl and queries.jsonl: `python -m tests.memory.recall_set.build`. README.md says what they are."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent

SHOWS = (
    "Undertow", "Glass Orchard", "Night Ferry", "The Paper King", "Salt Road", "Echo Garden", "Winter Machine",
    "Red Harbor", "Silent Carnival", "The Ninth Window", "Dust and Silver", "Lantern Sea", "Hollow Mountain",
    "Borrowed Light", "Swan Factory", "Marble Rain", "The Clockmaker", "Low Tide Opera", "Amber Station",
    "Velvet Static", "Ghost Orchard", "North Ferry", "Silver Harbor", "Paper Carnival",
)  # fmt: skip
"""Some share a word on purpose: Glass Orchard and Ghost Orchard, Night Ferry and North Ferry."""


@dataclass(frozen=True)
class Attribute:
    """One thing that is known of each show: how it is noted, and how it is asked for."""

    name: str
    values: tuple[str, ...]
    notes: tuple[str, ...]
    exact: str
    paraphrase: str
    synonym: str
    by_value: str = ""


ATTRIBUTES = (
    Attribute("tempo", tuple(f"{bpm} bpm" for bpm in range(72, 168, 4)),
              ("The tempo of {show} is {value}.", "{show}: tempo {value}, agreed with the band."),
              "tempo of {show}", "how fast is the music of {show}", "{show} speed in beats per minute",
              "which show has the tempo {value}"),
    Attribute("key", ("C minor", "D minor", "E flat major", "G major", "A minor", "B flat major", "F sharp minor"),
              ("{show} is in {value}.", "The main theme of {show} is written in {value}."),
              "key of the main theme of {show}", "in which key is {show} written", "tonality of {show}"),
    Attribute("venue", ("Arena West", "the old brewery", "Hall Nine", "the harbor theatre", "St. Anna's church",
                        "the planetarium", "Studio Delta", "the city library"),
              ("{show} plays at {value}.", "Venue of {show}: {value}."),
              "venue of {show}", "where does {show} play", "location of the performance {show}"),
    Attribute("client", ("Meridian Foundation", "Kestrel Records", "the city of Aarhus", "Orbit Museum",
                         "Bluefin Games", "Teatro Lirico", "Halden University"),
              ("The client of {show} is {value}.", "{show} was ordered by {value}."),
              "client of {show}", "who ordered {show}", "customer who pays for {show}"),
    Attribute("director", ("Ines Valdez", "Jonas Brandt", "Mei Tanaka", "Oluwaseun Ade", "Clara Rossi", "Piotr Nowak"),
              ("{value} directs {show}.", "Director of {show}: {value}."),
              "director of {show}", "who directs {show}", "person in charge of staging {show}"),
    Attribute("projectors", ("2 projectors", "3 projectors", "4 projectors", "6 projectors", "9 projectors"),
              ("{show} needs {value}.", "For {show} we hang {value}."),
              "projectors for {show}", "how many projectors does {show} need", "number of beamers in {show}"),
    Attribute("resolution", ("1920 × 1080", "3840 × 2160", "5760 × 1200", "4096 × 4096", "2560 × 1440"),
              ("The visuals of {show} are rendered at {value}.", "Resolution for {show}: {value} pixels."),
              "resolution of the visuals of {show}", "in what resolution is {show} rendered",
              "picture size in pixels for {show}"),
    Attribute("frame rate", ("24 fps", "25 fps", "30 fps", "50 fps", "60 fps"),
              ("{show} runs at {value}.", "Frame rate of {show}: {value}."),
              "frame rate of {show}", "how many frames per second has {show}", "{show} fps setting"),
    Attribute("color", ("deep blue", "warm amber", "blood red", "pale green", "violet", "cold white"),
              ("The main color of {show} is {value}.", "{show} is lit in {value}."),
              "main color of {show}", "in which color is {show} lit", "dominant hue of the lamps in {show}"),
    Attribute("haze", tuple(f"{level} percent" for level in range(5, 65, 5)),
              ("Haze in {show} stays at {value}.", "{show}: haze machine at {value}."),
              "haze in {show}", "how much haze do we use in {show}", "amount of fog for {show}"),
    Attribute("universe", tuple(f"universe {number}" for number in range(1, 13)),
              ("The lights of {show} are on DMX {value}.", "DMX of {show}: {value}."),
              "DMX universe of {show}", "on which DMX universe are the lights of {show}", "{show} lamp addressing"),
    Attribute("port", tuple(str(port) for port in range(7000, 7024)),
              ("{show} sends OSC to port {value}.", "OSC port of {show}: {value}."),
              "OSC port of {show}", "to which port does {show} send OSC", "{show} network socket number",
              "which show uses port {value}"),
    Attribute("deadline", tuple(f"{day} {month}" for month in ("March", "June", "October") for day in range(3, 28, 6)),
              ("{show} has to be delivered by {value}.", "Deadline of {show}: {value}."),
              "deadline of {show}", "when must {show} be delivered", "due date for {show}"),
    Attribute("budget", tuple(f"{amount:,} euros" for amount in range(12000, 60000, 2000)),
              ("The budget of {show} is {value}.", "{show} may cost {value}."),
              "budget of {show}", "how much money is there for {show}", "what may {show} cost",
              "which show has {value}"),
    Attribute("length", tuple(f"{minutes} minutes" for minutes in range(38, 110, 3)),
              ("{show} lasts {value}.", "Running time of {show}: {value}."),
              "running time of {show}", "how long does {show} last", "duration of {show}"),
    Attribute("dancers", tuple(f"{count} dancers" for count in range(3, 15)),
              ("{value} are on stage in {show}.", "{show} has {value}."),
              "dancers in {show}", "how many dancers has {show}", "size of the ballet group in {show}"),
    Attribute("typeface", ("Archivo", "Fraunces", "Inter", "Spectral", "Work Sans", "Cormorant"),
              ("All titles of {show} are set in {value}.", "Typeface of {show}: {value}."),
              "typeface of {show}", "in which font are the titles of {show} set", "lettering style of {show}"),
    Attribute("microphones", tuple(f"{count} microphones" for count in range(4, 30, 2)),
              ("{show} uses {value}.", "Sound of {show}: {value}, all wireless."),
              "microphones of {show}", "how many microphones does {show} use", "amount of mics for {show}"),
    Attribute("master", tuple(f"−{level} dB" for level in range(3, 15)),
              ("The master fader of {show} stays at {value}.", "{show}: master at {value}."),
              "master fader of {show}", "at what level is the master of {show}", "overall loudness of {show}"),
    Attribute("transition", ("a hard cut", "a slow crossfade", "a fade to black", "a whip pan", "an iris"),
              ("Scenes of {show} change with {value}.", "Transition in {show}: {value}."),
              "transition in {show}", "how do the scenes of {show} change", "switching between images in {show}"),
    Attribute("camera", ("a Super 35 camera", "two GoPros", "a thermal camera", "a dome camera", "an old camcorder"),
              ("{show} is filmed with {value}.", "Camera of {show}: {value}."),
              "camera of {show}", "with what is {show} filmed", "recording device in {show}"),
    Attribute("spare", ("the grey case", "the upper shelf", "the van", "the workshop", "locker 12", "the dimmer room"),
              ("Spare lamps of {show} are in {value}.", "Replacement lamps for {show}: look in {value}."),
              "spare lamps of {show}", "where are the replacement lamps of {show}", "{show} extra bulbs location"),
)  # fmt: skip

CHANGES = ("Correction: {note}", "{note} That is new, forget the old figure.", "Since the last rehearsal: {note}")
"""How the contradiction of an earlier note begins or ends."""
PER_KIND = {"exact": 40, "paraphrase": 40, "synonym": 40, "typo": 40, "order": 30, "number": 20, "contradiction": 30}


@dataclass(frozen=True)
class Fact:
    """One fact: *about* is the show and the attribute, or empty; *value* its value."""

    fact_id: str
    text: str
    about: tuple[str, str] = ("", "")
    value: str = ""


def notes() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield each note of notes.txt with its queries as (kind, text)."""
    kinds = {"p": "paraphrase", "s": "synonym"}
    for paragraph in (HERE / "notes.txt").read_text(encoding="utf-8").split("\n\n"):
        lines = [line for line in paragraph.strip().splitlines() if not line.startswith("#")]
        if lines:
            yield lines[0], [(kinds[line[0]], line[3:]) for line in lines[1:]]


def misspelt(text: str, chance: random.Random) -> str:
    """Swap, drop or double one letter in up to two words of four letters or more."""
    words = text.split()
    long = [index for index, word in enumerate(words) if len(re.sub(r"\W", "", word)) >= 4]
    for index in chance.sample(long, min(2, len(long))):
        word, at = words[index], chance.randrange(1, len(words[index]) - 2)
        match chance.randrange(3):
            case 0:
                word = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
            case 1:
                word = word[:at] + word[at + 1 :]
            case _:
                word = word[:at] + word[at] + word[at:]
        words[index] = word
    return " ".join(words)


def build() -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Return the facts and the queries, the same ones each time."""
    chance = random.Random(1811)
    facts: list[Fact] = []
    queries: list[tuple[str, str, list[str]]] = []
    for number, (note, asked) in enumerate(notes()):
        facts.append(Fact(f"n{number:03}", note))
        queries += [(kind, text, [f"n{number:03}"]) for kind, text in asked]
    world: dict[tuple[str, str], list[Fact]] = {}
    for show_number, show in enumerate(SHOWS):
        for attribute in ATTRIBUTES:
            about = (show, attribute.name)
            value = chance.choice(attribute.values)
            note = attribute.notes[show_number % len(attribute.notes)].format(show=show, value=value)
            world[about] = [Fact(f"w{len(world):03}", _sentence(note), about, value)]
    changed = chance.sample(sorted(world), 60)
    for number, about in enumerate(changed):
        attribute = next(each for each in ATTRIBUTES if each.name == about[1])
        value = chance.choice([each for each in attribute.values if each != world[about][0].value])
        note = _sentence(attribute.notes[number % len(attribute.notes)].format(show=about[0], value=value))
        world[about].append(Fact(f"c{number:03}", CHANGES[number % 3].format(note=note), about, value))
    everything = [fact for each in world.values() for fact in each]
    facts += everything
    steady = [about for about in sorted(world) if len(world[about]) == 1]
    for kind, count in PER_KIND.items():
        pool = changed if kind == "contradiction" else steady
        if kind == "number":
            numbered = {each.name for each in ATTRIBUTES if each.by_value}
            pool = [about for about in steady if about[1] in numbered]
        for about in chance.sample(pool, count):
            attribute = next(each for each in ATTRIBUTES if each.name == about[1])
            relevant = [fact.fact_id for fact in world[about]]
            exact = attribute.exact.format(show=about[0])
            match kind:
                case "exact":
                    text = exact
                case "paraphrase" | "contradiction":
                    text = attribute.paraphrase.format(show=about[0])
                case "synonym":
                    text = attribute.synonym.format(show=about[0])
                case "typo":
                    text = misspelt(exact, chance)
                case "order":
                    words = exact.split()
                    chance.shuffle(words)
                    text = " ".join(words)
                case _:
                    value = world[about][0].value
                    text = attribute.by_value.format(value=value)
                    relevant = [fact.fact_id for fact in everything if (fact.about[1], fact.value) == (about[1], value)]
            queries.append((kind, text, sorted(relevant)))
    return (
        [{"id": fact.fact_id, "text": fact.text} for fact in facts],
        [
            {"id": f"q{number:03}", "kind": kind, "text": text, "relevant": relevant}
            for number, (kind, text, relevant) in enumerate(queries)
        ],
    )


def _sentence(note: str) -> str:
    return note[0].upper() + note[1:]


def write() -> None:
    """Write both files."""
    facts, queries = build()
    for name, rows in (("facts", facts), ("queries", queries)):
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (HERE / f"{name}.jsonl").write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    write()
