"""The vault: who may see the private frames, and until when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import structlog

from lightfast.core.clock import SYSTEM, Clock
from lightfast.core.errors import Exhausted, InvalidArgument, LightfastError
from lightfast.core.tasks import TaskGroup
from lightfast.security.keys import read_private
from lightfast.security.sealing.derive import LONGEST, read_secret
from lightfast.security.sealing.keyring import NAME, missing
from lightfast.security.sealing.seals import Seals

log = structlog.get_logger("lightfast.vault")

CREDENTIAL = "lightfast-archive-secret"
"""The name of systemd's credential."""
MAX_WAITING = 4
"""How many attempts may wait: each costs about half a second of processor time."""
MAX_TTL = 366 * 24 * 3600.0


class Steps(NamedTuple):
    """How far a change of the secret has come."""

    done: int
    total: int


class Vault:
    """Locks and unlocks `seals`, which seal and open. All methods run on the loop; the work is done in a thread.

    *on_change* are awaited after every change, with whether it is unlocked now: what caches and indexes know of private
    frames is forgotten there, before `lock` returns.
    """

    def __init__(self, folder: Path, clock: Clock = SYSTEM) -> None:
        self._path = folder / NAME
        self.seals = Seals(self._path)
        self.on_change: list[Callable[[bool], Awaitable[None]]] = []
        self.count: Callable[[], Awaitable[int]] | None = None
        """Says how many private frames there are; joined by the composition."""
        self.expire_time: int | None = None
        """When it locks itself, in ns since 1970."""
        self._clock = clock
        self._tasks = TaskGroup("vault")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lightfast-vault")
        self._waiting = 0
        self._turn = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def unlocked(self) -> bool:
        """Say whether private frames can be read."""
        return self.seals.unlocked

    async def unlock(self, secret: str, *, ttl: float | None = None, create: bool = False) -> None:
        """Open the private frames with *secret*, for *ttl* seconds or until `lock`.

        Raises `InvalidArgument`, `NotFound` (SECRET_NOT_SET), `AlreadyExists` (SECRET_SET), `Denied` (SECRET_WRONG),
        `FailedPrecondition` (SEAL_KEYS_MISSING), `Exhausted` (VAULT_BUSY). After a wrong secret the vault is as it was.
        """
        if ttl is not None and not 0 < ttl <= MAX_TTL:
            raise InvalidArgument(f"a ttl of {ttl:g} s: use more than 0 s, and a year at most", field="ttl")
        async with _Place(self):
            if not self.seals.created and self.count is not None and (held := await self.count()):
                raise missing(self._path, held)
            given = read_secret(secret)
            await self._run(lambda: self.seals.unlock(given, create=create))
            self._expire(ttl)
        log.info("private frames unlocked", ttl_s=ttl)
        await self._tell()

    async def lock(self) -> None:
        """Close them; nothing happens where they are closed."""
        was = self.unlocked
        await self._lock()
        if was:
            log.info("private frames locked")
        await self._tell()

    async def rotate(self, secret: str, new_secret: str) -> AsyncGenerator[Steps, None]:
        """Make *new_secret* the secret, and yield how far that has come; it goes on if nobody listens any more."""
        old, new = read_secret(secret), read_secret(new_secret)
        if old == new:
            raise InvalidArgument("the new secret is the present one", reason="SECRET_SAME", field="new_secret")
        loop, news = asyncio.get_running_loop(), asyncio.Queue[Steps]()

        def progress(done: int, total: int) -> None:
            loop.call_soon_threadsafe(news.put_nowait, Steps(done, total))

        async def work() -> LightfastError | None:
            try:
                async with _Place(self):
                    await self._run(lambda: self.seals.rotate(old, new, progress))
            except LightfastError as error:
                return error
            log.info("the secret of the private frames was changed")
            await self._tell()
            return None

        task = self._tasks.start(work(), "rotate")
        while not task.done() or not news.empty():
            getter = asyncio.ensure_future(news.get())
            await asyncio.wait((getter, task), return_when=asyncio.FIRST_COMPLETED)
            if getter.done():
                yield getter.result()
            else:
                getter.cancel()
        if (error := task.result()) is not None:
            raise error

    async def unlock_from_credential(self, folder: str) -> None:
        """Unlock with systemd's credential in *folder*, where there is one; a failure is logged with its reason."""
        path = Path(folder) / CREDENTIAL
        if not folder or not path.is_file():
            return
        try:
            secret = await asyncio.to_thread(read_secret_file, path, checked=False)
            await self.unlock(secret, create=not self.seals.created)
        except (LightfastError, OSError) as error:
            why = error.message if isinstance(error, LightfastError) else str(error.strerror)
            log.error("the private frames stay locked: the credential did not open them", name=CREDENTIAL, why=why)  # noqa: TRY400

    async def close(self) -> None:
        """Lock, and end the thread; nobody is told any more."""
        await self._lock()
        await self._tasks.close(10.0)
        await asyncio.get_running_loop().run_in_executor(None, self._thread.shutdown)

    async def _lock(self) -> None:
        self._expire(None)
        await self._run(self.seals.lock)

    async def _run(self, function: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, function)

    def _expire(self, ttl: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.expire_time = None
        if ttl is not None:
            self.expire_time = self._clock.now_ns() + round(ttl * 1e9)
            self._timer = asyncio.get_running_loop().call_later(ttl, self._over)

    def _over(self) -> None:
        self._tasks.start(self.lock(), "ttl")

    async def _tell(self) -> None:
        for listener in self.on_change:
            await listener(self.unlocked)

    async def enter(self) -> None:
        """Wait for the turn of an attempt; for `_Place`."""
        if self._waiting >= MAX_WAITING:
            raise Exhausted(
                f"{self._waiting} attempts to unlock wait already: try again in a few seconds",
                reason="VAULT_BUSY",
                retry_after=3.0,
            )
        self._waiting += 1
        try:
            await self._turn.acquire()
        except BaseException:
            self._waiting -= 1
            raise

    def leave(self) -> None:
        """Let the next one in."""
        self._turn.release()
        self._waiting -= 1


class _Place:
    """One attempt at a time."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    async def __aenter__(self) -> None:
        await self._vault.enter()

    async def __aexit__(self, *_: object) -> None:
        self._vault.leave()


def read_secret_file(path: Path, *, checked: bool = True) -> str:
    """Return the secret in a file, without the line's end.

    Raises `FailedPrecondition` (KEY_FILE) where others than the owner may read it; the service manager's credentials,
    which have rights of their own, are read without the check.
    """
    data = read_private(path, 4 * LONGEST, remade=False) if checked else path.read_bytes()[: 4 * LONGEST + 1]
    try:
        return data.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise InvalidArgument(f"{path} holds no text in UTF-8", reason="SECRET_LENGTH") from None
