"""The keyring of the desktop: asked off the loop, under a deadline, since one that is locked may never answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from lightfast.core.errors import DeadlineExceeded, FailedPrecondition, LightfastError, Unavailable
from lightfast.core.worker import Worker

T = TypeVar("T")

SERVICE = "lightfast"
"""The name under which the keys lie in the keyring."""
PATIENCE = 8.0
"""How long the keyring has to answer, in seconds."""


class KeyringDoor:
    """Reads, writes and removes keys; the library is loaded by the first that asks."""

    def __init__(self, patience: float = PATIENCE) -> None:
        self._worker = Worker("keyring", most=16)
        self._patience = patience
        self._at_work = False
        self._stuck = False

    async def get(self, name: str) -> str | None:
        """Return the key of *name*, `None` where there is none. Raises as `run` does."""
        return await self.run(get_password, name)

    async def set(self, name: str, key: str) -> None:
        """Keep a key. Raises as `run` does."""
        await self.run(set_password, name, key)

    async def remove(self, name: str) -> bool:
        """Remove a key; say whether there was one. Raises as `run` does."""
        return await self.run(delete_password, name)

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call one of the functions below in the thread of the keyring.

        Raises `Unavailable` (KEYRING_SILENT: it is locked, or waits for its user) and `FailedPrecondition`
        (NO_KEYRING, KEYRING_REFUSED).
        """
        if self._stuck and self._at_work:  # the thread is still inside the call that nobody waits for any more
            raise self._silent()

        def work() -> T:
            self._at_work = True
            try:
                return function(*arguments)
            finally:
                self._at_work = False

        try:
            found = await self._worker.run(work, timeout=self._patience)
        except DeadlineExceeded:
            self._stuck = True
            raise self._silent() from None
        self._stuck = False
        return found

    def _silent(self) -> Unavailable:
        return Unavailable(
            f"the keyring has not answered within {self._patience:g} s: unlock it, or keep the key in a file by"
            " 'lightfast key set NAME'",
            reason="KEYRING_SILENT",
            retry_after=30.0,
        )

    async def close(self) -> None:
        """Let the thread go; one that is stuck ends with the process."""
        await self._worker.close(0.0 if self._at_work else 1.0)


def get_password(name: str) -> str | None:
    """Return the key of *name*; blocks."""
    import keyring
    from keyring.errors import KeyringError

    try:
        return keyring.get_password(SERVICE, name)
    except KeyringError as error:
        raise _refused(error) from None


def set_password(name: str, key: str) -> None:
    """Keep the key of *name*; blocks."""
    import keyring
    from keyring.errors import KeyringError

    try:
        keyring.set_password(SERVICE, name, key)
    except KeyringError as error:
        raise _refused(error) from None


def delete_password(name: str) -> bool:
    """Remove the key of *name* and say whether there was one; blocks."""
    import keyring
    from keyring.errors import KeyringError, PasswordDeleteError

    try:
        if keyring.get_password(SERVICE, name) is None:
            return False
        keyring.delete_password(SERVICE, name)
    except PasswordDeleteError:
        return False
    except KeyringError as error:
        raise _refused(error) from None
    return True


def _refused(error: Exception) -> LightfastError:
    """Translate what the library raised; what it says is left out, since a backend may repeat what it was given."""
    from keyring.errors import KeyringLocked, NoKeyringError

    if isinstance(error, NoKeyringError):
        return FailedPrecondition(
            "there is no keyring on this machine that can be used: keep the key in a file by 'lightfast key set NAME',"
            " or install one, such as gnome-keyring",
            reason="NO_KEYRING",
        )
    what = "is locked: unlock it" if isinstance(error, KeyringLocked) else f"refused ({type(error).__name__})"
    return FailedPrecondition(
        f"the keyring {what}, or keep the key in a file by 'lightfast key set NAME'", reason="KEYRING_REFUSED"
    )
