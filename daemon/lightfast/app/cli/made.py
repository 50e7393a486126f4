"""What a generation makes, as it is shown: text on stdout, all that is said about it on stderr."""

from __future__ import annotations

import base64
import mimetypes
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lightfast.app.cli import pictures
from lightfast.app.cli.progress import Bar
from lightfast.app.cli.session import CURRENT, asks_for_percent, fail, say

_PARTS = 100
_CANCEL_S = 20.0


class Shown:
    """Takes the steps of one generation as proto JSON, and shows them; *save* is the file for the result.

    Text goes to stdout as it comes where that is a terminal. Elsewhere it is written when it is complete: another
    model may begin anew, and what was printed cannot be taken back.
    """

    def __init__(self, client: Any, save: Path | None) -> None:
        self._client, self._save = client, save
        self._bar = Bar("generate", CURRENT)
        self._text: list[str] = []
        self._assets: list[dict[str, Any]] = []
        self._live = sys.stdout.isatty()
        self._mid_line = False
        self._usage: dict[str, Any] | None = None
        self._operation_id = ""

    def __enter__(self) -> Self:
        self._bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.__exit__(kind, error, trace)
        if CURRENT.as_json or (error is not None and not self._live):
            return
        if self._mid_line:
            print(flush=True)
        if error is None:
            self._finish()

    def take(self, message: dict[str, Any]) -> None:
        """Show one step."""
        self._operation_id = message.get("operation_id", "")
        if "fallback" in message and message["fallback"].get("restarted"):
            self._text.clear()
            self._assets.clear()
        if "text_delta" in message:
            self._text.append(message["text_delta"])
        if "asset" in message:
            self._assets.append(message["asset"])
        if CURRENT.as_json:
            CURRENT.show(message, _nothing)
            if "usage" in message:
                self._write()
            return
        if "progress" in message:
            self._progress(message["progress"])
        elif "text_delta" in message:
            if self._live:
                self._end_bar()
                sys.stdout.write(message["text_delta"].translate(_COMMANDS))
                sys.stdout.flush()
                self._mid_line = not message["text_delta"].endswith("\n")
        elif "preview" in message:
            preview = message["preview"]
            pictures.show(base64.b64decode(preview["content"]), preview["media_type"])
        elif "fallback" in message:
            self._fallback(message["fallback"])
        elif "asset" in message:
            self._asset(message["asset"])
        elif "usage" in message:
            self._usage = message["usage"]

    def cancel(self) -> None:
        """Cancel it, and say so: an operation does not end because nobody waits for it."""
        self._end_bar()
        if not self._operation_id:
            fail("it may still run: see 'lightfast operations --running'")
            return
        given = {"operation_id": self._operation_id}
        found = self._client.call_json("GenerationService.CancelOperation", given, _CANCEL_S)
        state = found["operation"].get("state", "").removeprefix("OPERATION_STATE_").lower()
        fail(f"{self._operation_id}: {state}")

    def _progress(self, progress: dict[str, Any]) -> None:
        fraction = progress.get("fraction", 0.0)
        said = f"{progress.get('model', '')} {progress.get('message', '')}".strip()
        if sys.stderr.isatty():
            if not self._mid_line:
                self._bar.at(round(max(0.0, fraction) * _PARTS), _PARTS if fraction >= 0 else 0, said)
        else:
            fail(f"{asks_for_percent(fraction)} {progress.get('message', '')}")

    def _end_bar(self) -> None:
        self._bar.__exit__(None, None, None)

    def _fallback(self, fallback: dict[str, Any]) -> None:
        self._end_bar()
        if self._mid_line:
            print(flush=True)
            self._mid_line = False
        how = "begins anew" if fallback.get("restarted") else "goes on"
        fail(f"{fallback.get('reason', '')}: {fallback.get('to_model', '')} {how}")

    def _asset(self, asset: dict[str, Any]) -> None:
        self._end_bar()
        media_type = asset.get("media_type", "")
        if pictures.can_show() and int(asset.get("size", 0)) <= pictures.MOST and media_type.startswith("image/"):
            pictures.show(self._client.read_asset(asset["sha256"]), media_type)
        say(f"{asset['uri']}  {media_type}  {asset.get('size')} bytes  {asset.get('file_path', '')}")

    def _finish(self) -> None:
        if self._text and not self._live:
            sys.stdout.write("".join(self._text))
            if not self._text[-1].endswith("\n"):
                sys.stdout.write("\n")
            sys.stdout.flush()
        self._write()
        if self._usage is not None:
            fail(cost_of(self._usage))

    def _write(self) -> None:
        """Write the result to its file; several assets to files that are numbered."""
        if self._save is None:
            return
        if self._assets:
            for number, asset in enumerate(self._assets):
                file = self._save if number == 0 else self._beside(self._save, number, asset)
                file.write_bytes(self._client.read_asset(asset["sha256"]))
                fail(f"written to {file}")
        elif self._text:
            self._save.write_text("".join(self._text), encoding="utf-8")
            fail(f"written to {self._save}")

    def _beside(self, save: Path, number: int, asset: dict[str, Any]) -> Path:
        """Return the file of a further asset; one of another type gets its own ending, such as `.mid` for a score."""
        file = save.with_stem(f"{save.stem}-{number + 1}")
        media_type = asset.get("media_type", "")
        if media_type == self._assets[0].get("media_type"):
            return file
        ending = Path(asset.get("name", "")).suffix or mimetypes.guess_extension(media_type)
        return file.with_suffix(ending or file.suffix)


def cost_of(usage: dict[str, Any]) -> str:
    """Return what was used and paid in one line."""
    parts = [usage.get("model", "")]
    tokens = int(usage.get("input_tokens", 0)), int(usage.get("output_tokens", 0))
    if any(tokens):
        parts.append(f"{tokens[0]} + {tokens[1]} tokens")
    for name, unit in (("characters", "characters"), ("seconds", "s of media"), ("images", "images")):
        if float(usage.get(name, 0)):
            parts.append(f"{float(usage[name]):g} {unit}")
    duration = str(usage.get("duration", "0s")).removesuffix("s")
    parts.append(f"{float(duration or 0):.1f} s")
    basis = usage.get("cost_basis", "")
    cost = float(usage.get("cost_usd", 0.0))
    if usage.get("cache"):
        parts.append(f"not paid: {usage['cache']} answer, {float(usage.get('saved_usd', 0.0)):.4g} USD saved")
    elif basis == "free":
        parts.append("free")
    elif basis == "unknown" and not cost:
        parts.append("cost not known")
    else:
        parts.append(f"{cost:.4g} USD" + (f" ({basis})" if basis else ""))
    if usage.get("finish_reason") not in {None, "", "stop"}:
        parts.append(f"ended by {usage['finish_reason']}")
    return " · ".join(part for part in parts if part)


def _nothing(message: dict[str, Any]) -> None:
    """Show nothing more than the JSON."""


_COMMANDS = {code: f"\\x{code:02x}" for code in (*range(9), *range(11, 13), *range(14, 32), *range(0x7F, 0xA0))}
"""Characters by which a text would command the terminal; line ends and tabs are let through."""
