"""link: the links between paths."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lightfast.app.cli import literal
from lightfast.app.cli.link_graph import dot, tree
from lightfast.app.cli.link_options import settings_of
from lightfast.app.cli.session import CURRENT, NEGATIVE, arguments_told, say
from lightfast.core.errors import NotFound

_CHUNK = 100


class _LinkGroup(TyperGroup):
    """Takes `link /a /b` as `link add /a /b`: a path can never be the name of a command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert the command that is meant."""
        if args and (args[0].startswith("/") or args[0] == "--input"):
            args = ["add", *args]
        return super().parse_args(ctx, args)


link = typer.Typer(cls=_LinkGroup, no_args_is_help=True, help="Link two paths: lightfast link /ableton/song/tempo /a.")

TwoWay = Annotated[bool | None, typer.Option("--two-way/--one-way", help="The target moves the source, too.")]
Expression = Annotated[str | None, typer.Option("--as", "--expression", help="A converter in x, for example 'x / 60'.")]
Rate = Annotated[float | None, typer.Option("--rate", help="The most values a second; 0: no limit.")]
Tolerance = Annotated[float | None, typer.Option(help="How far numbers may differ and count as equal.")]
RawUnits = Annotated[bool | None, typer.Option("--raw-units/--units", help="Leave the declared units alone.")]
Smooth = Annotated[float | None, typer.Option(help="Move smoothly, with this time constant in seconds.")]
Curve = Annotated[
    str | None, typer.Option(help="exp, log or s, as exp:3 stronger or weaker; or points '0,0 0.5,0.2 1,1'; or none.")
]
When = Annotated[str | None, typer.Option("--when", help="Carry only while this holds: '/show/armed and x > 0.5'.")]
Input = Annotated[
    list[str] | None, typer.Option("--input", help="NAME=PATH: a further source, by its name in the expression.")
]
FromUnit = Annotated[str | None, typer.Option(help="The unit of the source, for example gain.fader.ardour.")]
ToUnit = Annotated[str | None, typer.Option(help="The unit of the target.")]
Scale = Annotated[str | None, typer.Option(help="linear or log: map the range of one end onto that of the other.")]
Tempo = Annotated[str | None, typer.Option(help="Beats a minute, for time.beats: a number or a path.")]
FrameRate = Annotated[str | None, typer.Option(help="Frames a second, for time.frames: a number or a path.")]
SampleRate = Annotated[str | None, typer.Option(help="Samples a second, for time.samples: a number or a path.")]
Off = Annotated[bool | None, typer.Option("--off/--on", help="Switched off: it carries again as soon as it is on.")]


@link.command("add")
@link.command("create", hidden=True)
def add(
    paths: Annotated[list[str], typer.Argument(metavar="SOURCE TARGET", help="With --input, TARGET alone will do.")],
    two_way: TwoWay = None,
    expression: Expression = None,
    rate: Rate = None,
    tolerance: Tolerance = None,
    raw_units: RawUnits = None,
    smooth: Smooth = None,
    curve: Curve = None,
    when: When = None,
    inputs: Input = None,
    from_unit: FromUnit = None,
    to_unit: ToUnit = None,
    scale: Scale = None,
    tempo: Tempo = None,
    frame_rate: FrameRate = None,
    sample_rate: SampleRate = None,
    off: Off = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and create nothing.")] = False,
) -> None:
    """Create a link: lightfast link /a /b, or lightfast link /b --input a=/x --input b=/y --as 'max(a, b)'."""
    with arguments_told():
        fields = settings_of(locals())
    fields |= _ends(paths, fields, "SOURCE TARGET")
    request = {"link": fields, "request_id": uuid.uuid4().hex, "validate_only": dry_run}
    CURRENT.call("LinkService.CreateLink", request, lambda found: say(_line(found["link"])))


@link.command("update")
def update(
    link_id: str,
    two_way: TwoWay = None,
    expression: Expression = None,
    rate: Rate = None,
    tolerance: Tolerance = None,
    raw_units: RawUnits = None,
    smooth: Smooth = None,
    curve: Curve = None,
    when: When = None,
    inputs: Input = None,
    from_unit: FromUnit = None,
    to_unit: ToUnit = None,
    scale: Scale = None,
    tempo: Tempo = None,
    frame_rate: FrameRate = None,
    sample_rate: SampleRate = None,
    off: Off = None,
) -> None:
    """Change settings of a link; those that are not given stay. An empty text takes one away: --when ''."""
    with arguments_told():
        fields = settings_of(locals())
    _change(link_id, fields)


@link.command()
def bypass(
    link_id: str,
    off: Annotated[bool, typer.Option("--off", help="Take it back in: it carries from the next change on.")] = False,
) -> None:
    """Switch a link out of the way, at once."""
    _change(link_id, {"bypass": not off})


@link.command("list")
@link.command("ls", hidden=True)
def list_links(
    pattern: Annotated[str, typer.Argument(help="Only links that touch a path of this pattern.")] = "",
) -> None:
    """List the links."""

    def render(message: dict[str, Any]) -> None:
        links = message.get("links", [])
        say("\n".join(map(_line, links)) if links else "No links yet: lightfast link SOURCE TARGET")

    with CURRENT.client() as client:
        CURRENT.show(_all_links(client, pattern), render)


@link.command("delete")
@link.command("rm", hidden=True)
def delete(link_id: str) -> None:
    """Delete a link; the values stay."""
    CURRENT.call("LinkService.DeleteLink", {"link_id": link_id}, lambda _: say("gone"))


@link.command("test", context_settings=NEGATIVE)
def try_link(
    words: Annotated[
        list[str], typer.Argument(metavar="(ID | SOURCE TARGET) [VALUE]", help="Without a value, the one there is now.")
    ],
    two_way: TwoWay = None,
    expression: Expression = None,
    tolerance: Tolerance = None,
    raw_units: RawUnits = None,
    curve: Curve = None,
    when: When = None,
    inputs: Input = None,
    from_unit: FromUnit = None,
    to_unit: ToUnit = None,
    scale: Scale = None,
    tempo: Tempo = None,
    frame_rate: FrameRate = None,
    sample_rate: SampleRate = None,
) -> None:
    """Say what a link would do and what would move in turn, and change nothing."""
    with arguments_told():
        fields = settings_of(locals())
    known = not words[0].startswith("/")
    alone = bool(fields.get("inputs")) and not (words[1:] and words[1].startswith("/"))
    count = 1 if known or alone else 2
    if len(words) > count + 1:
        raise typer.BadParameter("give a link, or SOURCE TARGET, and at most one value")
    fields |= {"link_id": words[0]} if known else _ends(words[:count], fields, "SOURCE TARGET")
    request: dict[str, Any] = {"link": fields}
    if len(words) > count:
        with arguments_told():
            request["value"] = literal.parse(words[count])
    CURRENT.call("LinkService.TestLink", request, _tested)


@link.command()
def graph(
    pattern: Annotated[str, typer.Argument(help="Only links that touch a path of this pattern.")] = "",
    as_dot: Annotated[bool, typer.Option("--dot", help="Print it for Graphviz.")] = False,
) -> None:
    """Show the links as trees, with what their paths hold."""
    with CURRENT.client() as client:
        links = _all_links(client, pattern).get("links", [])
        paths = sorted({path for item in links for path in (item["source"], item["target"])})
        values = _held(client, paths)
    if as_dot:
        say(dot(links, values))
        return
    CURRENT.show(
        {"links": links, "values": values},
        lambda _: say(tree(links, values) if links else "No links yet: lightfast link SOURCE TARGET"),
    )


def _held(client: Any, paths: list[str]) -> dict[str, Any]:
    """Return what *paths* hold; those that hold nothing are left out."""
    values: dict[str, Any] = {}
    for start in range(0, len(paths), _CHUNK):
        chunk = paths[start : start + _CHUNK]
        try:
            answers = [client.call_json("ContextService.Get", {"paths": chunk})]
        except NotFound:  # one of them holds nothing: as patterns, each may
            answers = [client.call_json("ContextService.Get", {"pattern": path}) for path in chunk]
        values |= {entry["path"]: entry.get("value") for found in answers for entry in found.get("entries", [])}
    return values


def _ends(paths: list[str], fields: dict[str, Any], wanted: str) -> dict[str, str]:
    if len(paths) == 2:
        return {"source": paths[0], "target": paths[1]}
    if len(paths) == 1 and fields.get("inputs"):
        return {"target": paths[0]}
    raise typer.BadParameter(f"give {wanted}, or TARGET and at least one --input NAME=PATH")


def _change(link_id: str, fields: dict[str, Any]) -> None:
    with CURRENT.client() as client:
        now = client.call_json("LinkService.GetLink", {"link_id": link_id})["link"]
        found = client.call_json("LinkService.UpdateLink", {"link": _without_cleared({**now, **fields})})
        CURRENT.show(found, lambda message: say(_line(message["link"])))


def _without_cleared(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _all_links(client: Any, pattern: str) -> dict[str, Any]:
    """Return the answer of ListLinks with the links of all pages."""
    message: dict[str, Any] = {}
    token = ""
    while True:
        request = {"pattern": pattern, "page_size": 1000, "page_token": token}
        page = client.call_json("LinkService.ListLinks", request)
        token = page.pop("next_page_token", "")
        links = [*message.get("links", []), *page.get("links", [])]
        message = {**page, **({"links": links} if links else {})}
        if not token:
            return message


def _line(item: dict[str, Any]) -> str:
    arrow = "<->" if item.get("two_way") else "->"
    sources = [item["source"]] + [f"{more['name']}={more['path']}" for more in item.get("inputs", [])]
    through = f"  as {item['expression']}" if item.get("expression") else ""
    more = "".join(f"  {note}" for note in _notes(item))
    return f"{item.get('link_id') or 'it would be'}  {', '.join(sources)} {arrow} {item['target']}{through}{more}"


def _notes(item: dict[str, Any]) -> list[str]:
    notes = [
        f"{word} {item[name]:g}{unit}" if isinstance(item[name], float) else f"{word} {item[name]}"
        for name, word, unit in (
            ("condition", "when", ""),
            ("smooth_s", "smooth", " s"),
            ("max_rate_hz", "at most", "/s"),
            ("from_unit", "from", ""),
            ("to_unit", "to", ""),
            ("scale", "scale", ""),
            ("tempo", "tempo", ""),
            ("frame_rate", "frame rate", ""),
            ("sample_rate", "sample rate", ""),
        )
        if item.get(name)
    ]
    if "curve" in item:
        points = " ".join(f"{point.get('x', 0):g},{point.get('y', 0):g}" for point in item["curve"].get("points", []))
        notes.append(f"curve {' '.join(filter(None, (item['curve'].get('name', ''), points)))}")
    if item.get("bypass"):
        notes.append("(bypassed)")
    elif item.get("disabled"):
        notes.append("(off)")
    elif item.get("waiting"):
        notes.append(f"(waits: {item['waiting']})")
    if item.get("last_error"):
        notes.append(f"ERROR {item['last_error']}")
    return notes


def _tested(message: dict[str, Any]) -> None:
    say(f"the target would get {literal.show(message.get('converted'))}")
    if message.get("returned"):
        say(f"and it would come back as {literal.show(message['returned'])}")
    for move in message.get("moves", []):
        step = f"{literal.show(move.get('before'))} -> {literal.show(move.get('after'))}"
        by = f"  (by {move['link_id']})" if move.get("link_id") else ""
        why = f"  REFUSED: {move['refusal']}" if move.get("refusal") else ""
        say(f"  {move['target']}  {step}{by}{why}")
