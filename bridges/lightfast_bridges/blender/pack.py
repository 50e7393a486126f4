"""Writes the extension as one zip: for Blender 4.2 and later, and as an add-on for 3.4 and later."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import lightfast_link
from lightfast.sdk import Pack
from lightfast_bridges.blender.surface import extension_folder

PYTHON = "3.11"
"""The Python of Blender 4.2 to 5.0, for which pyzmq is packed; others use TCP."""
PLATFORMS = (
    ("manylinux_2_28_x86_64", "manylinux_2_26_x86_64", "manylinux2014_x86_64"),
    ("win_amd64",),
    ("macosx_10_15_universal2", "macosx_11_0_arm64"),
)
REQUIREMENT = "pyzmq>=26.4,<28"
DOWNLOAD_S = 60.0
"""The longest that one platform's wheel may take to come."""
_DATE = (2026, 1, 1, 0, 0, 0)
_SKIP = {"__pycache__", ".keep"}

Fetch = Callable[[Path], Sequence[Path]]


def download(folder: Path) -> list[Path]:
    """Fetch pyzmq's wheels into *folder* with pip and return those that came; none when offline."""
    for tags in PLATFORMS:
        platforms = [option for tag in tags for option in ("--platform", tag)]
        line = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        line += ["--implementation", "cp", "--python-version", PYTHON, "--dest", str(folder)]
        line += ["--disable-pip-version-check", "--retries", "1", *platforms, REQUIREMENT]
        try:
            subprocess.run(line, capture_output=True, timeout=DOWNLOAD_S, check=True)
        except (OSError, subprocess.SubprocessError):
            continue
    return sorted(folder.glob("pyzmq-*.whl"))


class BlenderPack(Pack):
    """The Blender extension; LIGHTFAST_BLENDER_WHEELS names a folder of pyzmq wheels to use instead of PyPI."""

    name = "blender"
    description = "The Lightfast extension for Blender 4.2 and later, and add-on for 3.4 and later"

    def __init__(self, fetch: Fetch = download) -> None:
        """*fetch* puts pyzmq's wheels into a folder and returns them."""
        self._fetch = fetch

    def write(self, folder: Path) -> tuple[Path, str]:
        """Write `lightfast_blender-VERSION.zip`."""
        source = extension_folder()
        manifest = (source / "blender_manifest.toml").read_text(encoding="utf-8")
        version = tomllib.loads(manifest)["version"]
        target = folder / f"lightfast_blender-{version}.zip"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            wheels = self._wheels(Path(scratch))
            if wheels:
                manifest = with_wheels(manifest, [wheel.name for wheel in wheels])
            partial = target.with_suffix(".partial")
            with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, path in _files(source):
                    if name != "blender_manifest.toml":
                        _add(archive, name, path.read_bytes())
                _add(archive, "blender_manifest.toml", manifest.encode())
                for name, path in _files(Path(lightfast_link.__file__).parent):
                    _add(archive, f"vendor_lib/lightfast_link/{name}", path.read_bytes())
                for wheel in wheels:
                    _add(archive, f"wheels/{wheel.name}", wheel.read_bytes())
                _add(archive, "vendor_lib/LICENSE", _license())
            partial.replace(target)
        return target, _advice(target, len(wheels))

    def _wheels(self, scratch: Path) -> list[Path]:
        given = os.environ.get("LIGHTFAST_BLENDER_WHEELS")
        found = Path(given).glob("pyzmq-*.whl") if given else self._fetch(scratch)
        return sorted(found)


def with_wheels(manifest: str, names: Sequence[str]) -> str:
    """Return *manifest* with its list of wheels, before the first table."""
    lines = "".join(f'  "./wheels/{name}",\n' for name in names)
    head, bracket, tables = manifest.partition("\n[")
    return f"{head.rstrip()}\nwheels = [\n{lines}]\n{bracket}{tables}"


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and path.suffix != ".pyc" and not _SKIP.intersection(parts):
            yield "/".join(parts), path


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    """Add one file below one folder, which both an add-on and an extension may have; the same bytes each time."""
    info = zipfile.ZipInfo(f"lightfast_blender/{name}", _DATE)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    archive.writestr(info, data)


def _license() -> bytes:
    """Return the license of what is packed along: that of this distribution."""
    checkout = Path(lightfast_link.__file__).parents[2]
    if (checkout / "pyproject.toml").is_file():
        return (checkout / "LICENSE").read_bytes()
    for file in importlib.metadata.files("lightfast") or ():
        if file.name == "LICENSE":
            return file.read_binary()
    raise FileNotFoundError("the file LICENSE of lightfast is missing: install lightfast again")


def _advice(target: Path, wheels: int) -> str:
    way = f"with pyzmq for {wheels} platforms" if wheels else "without pyzmq, which could not be had: it will use TCP"
    return f"In Blender: Edit > Preferences > Add-ons > Install from Disk, choose {target.name} ({way})."
