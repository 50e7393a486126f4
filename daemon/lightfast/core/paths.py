"""Where things lie: one folder of the user's choice, the system's usual places, or systemd's."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from lightfast.core.errors import FailedPrecondition

NAME = "lightfast"
MAX_SOCKET_PATH = 100  # sun_path holds 108 bytes on Linux and 104 on macOS
LONGEST_SOCKET = "grpc.sock"
"""The longest name of a socket of ours: where its path fits, those of all others do."""


@dataclass(frozen=True, slots=True)
class Paths:
    """The folders of one daemon. *home* is set when all lie under one folder.

    *shared* says that the group may reach the runtime folder, as under the system unit.
    """

    config: Path
    state: Path
    runtime: Path
    home: Path | None = None
    shared: bool = False

    @property
    def config_file(self) -> Path:
        """The settings."""
        return self.config / "lightfast.toml"

    @property
    def dropins(self) -> Path:
        """Plugins as single files."""
        return self.config / "plugins"

    @property
    def keys(self) -> Path:
        """The keys of AI services, one file each."""
        return self.config / "keys"

    @property
    def store_file(self) -> Path:
        """The database."""
        return self.state / "lightfast.db"

    @property
    def assets(self) -> Path:
        """The blobs."""
        return self.state / "assets"

    @property
    def archive(self) -> Path:
        """The archive of frames."""
        return self.state / "archive"

    @property
    def token_file(self) -> Path:
        """The owner's token."""
        return self.state / "token"

    @property
    def link_key_file(self) -> Path:
        """The key of applications that connect over TCP."""
        return self.state / "link.key"

    @property
    def lock_file(self) -> Path:
        """Held by the running daemon."""
        return self.runtime / "lock"

    @property
    def endpoints_file(self) -> Path:
        """The bound addresses."""
        return self.runtime / "endpoints.json"

    def socket(self, name: str) -> Path:
        """Return where a Unix socket *name* goes; too long a path falls back to a short private folder."""
        path = self.runtime / name
        if len(os.fsencode(path)) <= MAX_SOCKET_PATH:
            return path
        digest = sha256(os.fsencode(self.runtime)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"{NAME}-{_user_id()}-{digest}" / name

    def create(self) -> None:
        """Create the folders; the runtime folder and the state are private to the user."""
        for folder in (self.state, self.runtime, self.socket(LONGEST_SOCKET).parent):
            _private(folder, shared=self.shared)


def find(home: str | Path | None = None, environ: Mapping[str, str] | None = None) -> Paths:
    """Return the folders: *home* or `LIGHTFAST_HOME`, else systemd's, else the user's own."""
    environ = os.environ if environ is None else environ
    chosen = home or environ.get("LIGHTFAST_HOME")
    if chosen:
        root = Path(chosen).expanduser().absolute()
        return Paths(root / "config", root / "state", root / "run", home=root)
    if "STATE_DIRECTORY" in environ and "RUNTIME_DIRECTORY" in environ:
        state, runtime = (_first(environ[name]) for name in ("STATE_DIRECTORY", "RUNTIME_DIRECTORY"))
        config = _first(environ.get("CONFIGURATION_DIRECTORY", "")) if environ.get("CONFIGURATION_DIRECTORY") else state
        return Paths(config, state, runtime, shared=True)
    import platformdirs

    return Paths(
        platformdirs.user_config_path(NAME, appauthor=False),
        platformdirs.user_state_path(NAME, appauthor=False),
        platformdirs.user_runtime_path(NAME, appauthor=False),
    )


def _first(folders: str) -> Path:
    """Return the first of systemd's colon-separated folders."""
    return Path(folders.split(":", maxsplit=1)[0])


def _private(folder: Path, *, shared: bool) -> None:
    """Create *folder* for its owner alone, or refuse one that belongs to another user, or that one could swap."""
    _check_way(folder)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise FailedPrecondition(
            f"the folder {folder} cannot be made ({error.strerror}): choose another with --home DIR or LIGHTFAST_HOME",
            reason="FOLDER_REFUSED",
        ) from error
    if sys.platform == "win32":
        return  # the profile folder is private already
    found = folder.stat()
    if found.st_uid != os.geteuid():
        raise FailedPrecondition(
            f"the folder {folder} belongs to user {found.st_uid}, not to you ({os.geteuid()}): "
            "choose another with --home DIR or LIGHTFAST_HOME",
            reason="FOLDER_NOT_OURS",
        )
    _check_way(folder)  # again: what was not there a moment ago may be somebody else's now
    allowed = 0o750 if shared else 0o700
    mode = stat.S_IMODE(found.st_mode)
    if mode & ~allowed:
        folder.chmod(mode & allowed)


def _check_way(folder: Path) -> None:
    """Refuse a way to *folder* that leads from a place where anybody may write, as `/tmp`, through what is not ours."""
    if sys.platform == "win32":
        return
    for place in (folder, *folder.parents):
        try:
            found = place.lstat()
            open_to_all = stat.S_IMODE(place.parent.stat().st_mode) & stat.S_IWOTH
        except OSError:
            continue  # it is not there yet
        if open_to_all and found.st_uid not in {0, os.geteuid()}:
            raise FailedPrecondition(
                f"{place} on the way to {folder} belongs to user {found.st_uid}, who could put another one in its "
                "place: choose another folder with --home DIR or LIGHTFAST_HOME",
                reason="FOLDER_NOT_OURS",
            )


def _user_id() -> int:
    return os.geteuid() if sys.platform != "win32" else 0
