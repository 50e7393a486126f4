"""Prompt templates in the store: each name has versions from 1, which are never changed."""

from __future__ import annotations

import asyncio
import difflib
import json
import re
from dataclasses import dataclass

from lightfast.core.clock import Clock
from lightfast.core.errors import Exhausted, FailedPrecondition, InvalidArgument, NotFound
from lightfast.gateway.operations import Rows
from lightfast.gateway.prompts.renderer import Renderer
from lightfast.gateway.prompts.sandbox import MOST_TEXT

MOST_TEMPLATES = 10_000
"""So many versions of all templates are kept; one more is refused."""
MOST_DESCRIPTION = 1000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True)
class Template:
    """One version; *arguments* are those its texts take, *create_time* in ns since 1970."""

    name: str
    version: int
    text: str
    system: str = ""
    description: str = ""
    model: str = ""
    arguments: tuple[str, ...] = ()
    create_time: int = 0

    def says(self) -> tuple[str, str, str, str]:
        """Return what makes it another version."""
        return (self.text, self.system, self.description, self.model)


class Templates:
    """The templates of this store; a few that were used lately are kept in memory."""

    def __init__(self, db: Rows, clock: Clock, renderer: Renderer) -> None:
        self._db = db
        self._clock = clock
        self._renderer = renderer
        self._turn = asyncio.Lock()

    async def save(self, name: str, text: str, system: str = "", description: str = "", model: str = "") -> Template:
        """Save a new version; return the newest, which is the one before where nothing changed.

        Raises `InvalidArgument` for a name or a text that cannot be one (TEMPLATE_SYNTAX with the line), `Exhausted`.
        """
        _check(name, text, system, description, model)
        arguments = await self._renderer.names(text, system)
        async with self._turn:
            held = await self._all(name)
            made = Template(name, 1, text, system, description, model, arguments, self._clock.now_ns())
            if held:
                newest = held[-1]
                if newest.says() == made.says():
                    return newest
                made = Template(name, newest.version + 1, *made.says(), arguments, made.create_time)
            else:
                rows = await self._db.query("SELECT count(*) FROM prompts")
                if rows[0][0] >= MOST_TEMPLATES:
                    raise Exhausted(
                        f"{MOST_TEMPLATES} templates are kept already: delete some", reason="TOO_MANY_TEMPLATES"
                    )
            unit = self._db.unit()
            unit.execute(
                "INSERT INTO prompts(name, version, body, create_time) VALUES(?, ?, ?, ?)",
                (made.name, made.version, _encode(made), made.create_time),
            )
            await self._db.commit(unit)
        return made

    async def get(self, reference: str) -> Template:
        """Return the template `name`, its newest version, or `name@version`.

        Raises `NotFound` with the nearest, `FailedPrecondition` (PROMPT_PURGED) for a version that a purge has emptied.
        """
        name, at, version = reference.partition("@")
        if at and not _VERSION.fullmatch(version):
            raise InvalidArgument(f"{reference!r:.100}: a version is a number from 1, as in {name}@2", field="name")
        held = await self._all(name)
        if not held:
            rows = await self._db.query("SELECT DISTINCT name FROM prompts ORDER BY name LIMIT 1000")
            names = [row[0] for row in rows]
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(names[:10]) or 'none yet'}"
            raise NotFound(
                f"there is no prompt template {name!r:.100}: {hint}", reason="PROMPT_NOT_FOUND", field="name"
            )
        if not at:
            return _whole(held[-1])
        for template in held:
            if template.version == int(version):
                return _whole(template)
        raise NotFound(
            f"the prompt template {name!r} has no version {version}: the newest is {held[-1].version}",
            reason="PROMPT_NOT_FOUND",
            field="name",
        )

    async def listed(self, name: str = "") -> list[Template]:
        """Return the newest version of each template, or all versions of one, ordered by name and version."""
        if name:
            found = await self._all(name)
            if not found:
                await self.get(name)  # which says what there is instead
            return found
        rows = await self._db.query(
            "SELECT name, max(version), body, create_time FROM prompts GROUP BY name ORDER BY name LIMIT ?",
            (MOST_TEMPLATES,),
        )
        return [_decode(*row) for row in rows]

    async def delete(self, name: str) -> int:
        """Delete a template with all its versions; return how many there were. Raises `NotFound`."""
        async with self._turn:
            held = await self._all(name)
            if not held:
                await self.get(name)
            unit = self._db.unit()
            unit.execute("DELETE FROM prompts WHERE name = ?", (name,))
            await self._db.commit(unit)
        return len(held)

    async def _all(self, name: str) -> list[Template]:
        rows = await self._db.query(
            "SELECT name, version, body, create_time FROM prompts WHERE name = ? ORDER BY version", (name,)
        )
        return [_decode(*row) for row in rows]


def purged_body(purge_id: str) -> str:
    """Return the body of a version that was emptied: only its number is left."""
    return _encode(Template("", 0, "", description=f"purged by {purge_id}"))


def _whole(template: Template) -> Template:
    if not template.text and not template.system:
        raise FailedPrecondition(
            f"version {template.version} of the prompt template {template.name!r} was purged: save it anew, or name"
            " another version",
            reason="PROMPT_PURGED",
            field="name",
        )
    return template


def _encode(template: Template) -> str:
    body = {
        "text": template.text,
        "system": template.system,
        "description": template.description,
        "model": template.model,
        "arguments": list(template.arguments),
    }
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def _decode(name: str, version: int, body: str, create_time: int) -> Template:
    held = json.loads(body)
    return Template(
        name,
        version,
        held["text"],
        held["system"],
        held["description"],
        held["model"],
        tuple(held["arguments"]),
        create_time,
    )


def _check(name: str, text: str, system: str, description: str, model: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f"the name is {name!r:.80}: use letters, digits and . _ -, at most 64, a letter or a digit first",
            field="prompt.name",
        )
    if not text.strip() and not system.strip():
        raise InvalidArgument("the template is empty", field="prompt.text")
    for field, part, most in (
        ("text", text, MOST_TEXT),
        ("system", system, MOST_TEXT),
        ("description", description, MOST_DESCRIPTION),
        ("model", model, 300),
    ):
        if len(part) > most:
            raise InvalidArgument(
                f"prompt.{field} has {len(part)} characters, the most is {most}", field=f"prompt.{field}"
            )
        try:
            part.encode()
        except UnicodeEncodeError:
            raise InvalidArgument(f"prompt.{field} is no valid Unicode", field=f"prompt.{field}") from None
