"""models: what can be asked for, what it costs, how it stands."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lightfast.app.cli.session import CURRENT, say, table

app = typer.Typer()
_TIMEOUT = 30.0
"""Lists of models may have to be asked for."""
_PER_MILLION = {
    "input_token": "in",
    "output_token": "out",
    "image_output_token": "image out",
    "audio_output_token": "audio out",
}
_EACH = {"image": "image", "second": "s", "request": "request", "credit": "credit"}
_WINDOWS = {60.0: "min", 86400.0: "day", 0.0: "at once", 1.0: "s", 3600.0: "h"}


@app.command()
def models(
    makes: Annotated[str, typer.Argument(metavar="OUTPUT", help="Only models that make this.")] = "",
    output: Annotated[str, typer.Option(help="The same: text, image, audio, video, embedding.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="With those that cannot be used now, and why.")] = False,
) -> None:
    """List the models: what they make, their window, price, limits and aliases."""

    def render(found: dict[str, Any]) -> None:
        listed = found.get("models", [])
        shown = [item for item in listed if everything or item.get("available")]
        table(
            ("MODEL", "MAKES", "CONTEXT", "PRICE (USD)", "LIMITS", "ALIASES", ""),
            (
                (
                    item["name"],
                    ", ".join(item.get("outputs", [])),
                    _tokens(int(item.get("context_tokens", 0))),
                    price(item),
                    limits(item),
                    ", ".join(item.get("aliases", [])),
                    _note(item),
                )
                for item in shown
            ),
            "No model can be used; see 'lightfast plugins'.",
        )
        if len(shown) < len(listed):
            say(f"{len(listed) - len(shown)} more cannot be used now: lightfast models --all says why")

    CURRENT.call("GenerationService.ListModels", {"output": output or makes}, render, timeout=_TIMEOUT)


def _note(item: dict[str, Any]) -> str:
    parts = []
    if not item.get("available"):
        parts.append(item.get("reason") or "it cannot be used now")
    if item.get("deprecation_date"):
        parts.append(f"deprecated from {item['deprecation_date']}")
    if item.get("retirement_date"):
        parts.append(f"ends on {item['retirement_date']}")
    return "; ".join(parts) or item.get("description", "")


def _tokens(number: int) -> str:
    if not number:
        return ""
    return f"{number / 1e6:.3g}M" if number >= 1_000_000 else f"{number / 1e3:.4g}k" if number >= 1000 else str(number)


def price(item: dict[str, Any]) -> str:
    """Return the price of a model: tokens and characters by the million, all else by one."""
    prices = {each["unit"]: each.get("usd", 0.0) for each in item.get("prices", [])}
    if prices and not any(prices.values()):
        return "free"
    tokens = [f"{usd * 1e6:.4g} {_PER_MILLION[unit]}" for unit, usd in prices.items() if unit in _PER_MILLION]
    parts = [" / ".join(tokens) + " per M"] if tokens else []
    if prices.get("character"):
        parts.append(f"{prices['character'] * 1e6:.4g} per M characters")
    parts += [f"{usd:.4g} per {_EACH[unit]}" for unit, usd in prices.items() if unit in _EACH]
    return ", ".join(parts)


def limits(item: dict[str, Any]) -> str:
    """Return the limits of a model in short: `60 requests/min`."""
    return ", ".join(
        f"{_short(each.get('limit', 0.0))} {each['kind'].replace('_', ' ')}{_per(each.get('window_s', 0.0))}"
        for each in item.get("limits", [])
    )


def _short(number: float) -> str:
    return f"{number / 1e6:g}M" if number >= 1e6 else f"{number / 1e3:g}k" if number >= 1e4 else f"{number:g}"


def _per(window: float) -> str:
    if not window:
        return ""
    return f"/{_WINDOWS.get(window, f'{window:g} s')}"
