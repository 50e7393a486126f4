"""What a start loads: little before the flags are read, and nothing heavy that the start does not need."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "rich", "typer", "uvicorn", "starlette", "prometheus_client", "psutil", "numpy", "PIL", "click", "pydantic",
    "cryptography", "pyroaring", "rapidfuzz", "backports", "wordllama", "tokenizers",
    "openai", "anthropic", "google.genai", "ollama", "httpx2", "httpx", "elevenlabs", "runwayml", "replicate", "fal_client",
    "aiohttp", "anyio", "av", "cv2", "genai_prices", "jinja2", "keyring", "onnxruntime",
)  # fmt: skip


def loaded(statement: str) -> set[str]:
    """Return the modules that are loaded after *statement* in a fresh interpreter."""
    program = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=150, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("statement", ["import lightfast.app.main", "import lightfast.__main__"])
def test_the_flags_are_read_before_anything_is_loaded(statement: str) -> None:
    found = loaded(statement)
    assert "asyncio" not in found
    assert "structlog" not in found


def test_the_composition_loads_nothing_that_only_a_few_need() -> None:
    found = loaded("import lightfast.app.run, lightfast.app.daemon")
    assert "apsw" in found
    assert not found & set(HEAVY)
    assert "rich" not in found


def test_structlog_finds_rich_again_when_others_want_it() -> None:
    assert "rich.console" in loaded("import lightfast.core.log, rich.console")


def test_listing_every_service_loads_no_sdk() -> None:
    found = loaded(
        "import importlib, pkgutil, lightfast_providers as all\n"
        "for each in pkgutil.iter_modules(all.__path__):\n"
        "    module = importlib.import_module(f'lightfast_providers.{each.name}')\n"
        "    hook = getattr(module, 'lightfast_providers', None)\n"
        "    for provider in hook(config={}) if hook is not None else ():\n"
        "        provider.models()"
    )
    assert {"lightfast_providers.openai.provider", "lightfast_providers.fal.provider"} <= found
    assert not found & set(HEAVY)
