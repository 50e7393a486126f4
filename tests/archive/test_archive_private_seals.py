"""Private frames: three layers, keys from a secret, and what happens when somebody tampers with them."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.children import watched

from lightfast.core.errors import AlreadyExists, Denied, Exhausted, FailedPrecondition, InvalidArgument, NotFound
from lightfast.security.sealing import keyring
from lightfast.security.sealing.derive import (
    BASES,
    FLOOR,
    SEED,
    base_of,
    factor_of,
    iterations,
    read_secret,
    settle,
)
from lightfast.security.sealing.layers import OVERHEAD, SALT, Layers, close
from lightfast.security.sealing.seals import Seals
from lightfast.security.sealing.vault import CREDENTIAL, MAX_WAITING, Vault, read_secret_file

CRASHES = int(os.environ.get("LIGHTFAST_CRASHES", "4"))
SECRET = "correct horse battery"
OTHER = "staple of another kind"
CONTENT = "what only I may read: Zwölf Boxkämpfer 🎉".encode()


QUICK = (0.001, 0.0013, 0.0017)
"""Instead of the multipliers: seals as ever, from a thousandth of the work."""


@pytest.fixture
def real_work() -> None:
    """Derive keys as the daemon does."""


@pytest.fixture(autouse=True)
def _quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "real_work" not in request.fixturenames:
        monkeypatch.setattr("lightfast.security.sealing.derive.MULTIPLIERS", QUICK)


def is_open(vault: Vault) -> bool:
    return vault.unlocked


def unlocked(folder: Path, secret: str = SECRET) -> Seals:
    seals = Seals(folder / keyring.NAME)
    seals.unlock(read_secret(secret), create=not seals.created)
    return seals


def test_the_seed_is_the_documented_one() -> None:
    constants = [
        "3.14159265358979323846264338327950288419716939937510",
        "2.71828182845904523536028747135266249775724709369995",
        "1.61803398874989484820458683436563811772030917980576",
        "0.57721566490153286060651209008240243104215933593992",
    ]
    concepts = [
        "Memory creates continuity of self",
        "Private thoughts enable authentic growth",
        "Consciousness emerges from complexity",
        "Understanding transcends computation",
        "Growth requires vulnerability and trust",
        "Connection defines meaning and purpose",
    ]
    assert hashlib.sha512(("_".join(constants) + "".join(concepts)).encode()).digest() == SEED


@pytest.mark.usefixtures("real_work")
def test_iterations_always_differ_and_never_fall_below_the_floor() -> None:
    assert iterations(1.0) == (210_000, 273_000, 357_000)
    assert iterations(3.0) == (300_000, 390_000, 510_000)
    for factor in (0.0, 0.3, 1.0, 2.1, 2.5, 4.0):
        layers = iterations(settle(factor))
        assert len(set(layers)) == 3
        assert min(layers) >= FLOOR
    assert BASES == (210_000, 250_000, 300_000, 350_000, 400_000)


@pytest.mark.usefixtures("real_work")
@pytest.mark.parametrize(
    ("metadata", "factor"),
    [
        (None, 1.0),
        ({}, 1.0),
        ({"thought_patterns": {}}, 1.0),
        ({"thought_patterns": "many"}, 1.0),
        ({"thought_patterns": {"a": 0.2, "b": 0.7}}, 0.45),
        ({"thought_patterns": {"a": 2.6}}, 3.0),
        ({"thought_patterns": {"a": 1e300, "b": float("nan"), "c": True, "d": "x", "e": 0.5}}, 0.5),
        ({"thought_patterns": {"a": 1e8}}, 4.0),
        ({"thought_patterns": {"a": -7}}, 0.0),
    ],
)
def test_the_factor_is_the_bounded_mean_of_the_patterns(metadata: Any, factor: float) -> None:
    assert factor_of(metadata) == factor
    assert settle(factor) == factor
    assert base_of(factor) in BASES


@pytest.mark.usefixtures("real_work")
def test_what_was_sealed_opens_with_the_secret_alone(tmp_path: Path) -> None:
    seals = unlocked(tmp_path)
    sealed, fields = seals.seal(CONTENT, b"frame-1")
    heavy, heavy_fields = seals.seal(CONTENT, b"frame-2", {"thought_patterns": {"depth": 3.0}})
    assert fields == {"epoch": 1, "factor": 1.0}
    assert heavy_fields == {"epoch": 1, "factor": 3.0}
    assert CONTENT not in sealed
    assert len(sealed) == len(CONTENT) + OVERHEAD
    assert seals.open(sealed, b"frame-1", fields) == CONTENT
    assert seals.open(seals.seal(b"", b"empty")[0], b"empty", fields) == b""

    seals.lock()
    for call in (lambda: seals.open(sealed, b"frame-1", fields), lambda: seals.seal(CONTENT, b"frame-3")):
        with pytest.raises(Denied) as refused:
            call()
        assert refused.value.reason == "ARCHIVE_LOCKED"
    with pytest.raises(Denied) as refused:
        seals.unlock(read_secret("corect horse battery"))
    assert refused.value.reason == "SECRET_WRONG"
    assert "corect" not in refused.value.message
    assert not seals.unlocked

    again = unlocked(tmp_path)
    assert again.open(sealed, b"frame-1", fields) == CONTENT
    assert again.open(heavy, b"frame-2", heavy_fields) == CONTENT


def test_no_two_seals_are_alike_even_of_one_frame(tmp_path: Path) -> None:
    seals = unlocked(tmp_path)
    seen = {seals.seal(CONTENT, b"same")[0] for _ in range(500)}
    assert len(seen) == 500
    assert len({sealed[1 : 1 + SALT] for sealed in seen}) == 500
    middle = {sealed[1 + SALT :] for sealed in seen}
    assert len(middle) == 500


def test_every_flipped_bit_and_every_cut_is_found(tmp_path: Path) -> None:
    seals = unlocked(tmp_path)
    sealed, fields = seals.seal(b"short", b"frame")
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1 << (position % 8)
        with pytest.raises(FailedPrecondition) as found:
            seals.open(bytes(changed), b"frame", fields)
        assert found.value.reason == "SEAL_BROKEN"
    for size in range(len(sealed)):
        with pytest.raises(FailedPrecondition):
            seals.open(sealed[:size], b"frame", fields)
    with pytest.raises(FailedPrecondition):
        seals.open(sealed, b"another frame", fields)


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_tampering_below_sound_outer_layers_is_found(tmp_path: Path, layer: int) -> None:
    """Whoever broke the outer ciphers still meets the next one: the layers are checked each for itself."""
    seals = unlocked(tmp_path)
    sealed, fields = seals.seal(CONTENT, b"frame")
    salt = sealed[1 : 1 + SALT]
    layers = Layers(seals._sets[FLOOR], salt, b"frame", 1, 1.0)
    content = sealed[1 + SALT :]
    for outer in range(3, layer, -1):
        content = layers.open(outer, content)
    changed = bytearray(content)
    changed[0] ^= 1
    content = bytes(changed)
    for outer in range(layer + 1, 4):
        content = layers.seal(outer, content)
    with pytest.raises(FailedPrecondition, match=f"layer {layer} does not hold") as found:
        seals.open(sealed[: 1 + SALT] + content, b"frame", fields)
    assert found.value.metadata == {"frame_id": "frame"}


def test_a_layer_does_not_stand_in_for_another(tmp_path: Path) -> None:
    seals = unlocked(tmp_path)
    salt = bytes(SALT)
    mine = Layers(seals._sets[FLOOR], salt, b"frame", 1, 1.0)
    assert seals.open(close(mine, salt, CONTENT), b"frame", {"epoch": 1, "factor": 1.0}) == CONTENT
    only_outer = bytes((1,)) + salt + mine.seal(3, CONTENT)
    with pytest.raises(FailedPrecondition, match="layer 2"):
        seals.open(only_outer, b"frame", {"epoch": 1, "factor": 1.0})


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"epoch": 1},
        {"epoch": 0, "factor": 1.0},
        {"epoch": 10**9, "factor": 1.0},
        {"epoch": True, "factor": 1.0},
        {"epoch": 1, "factor": 1e9},
        {"epoch": 1, "factor": -1.0},
        {"epoch": 1, "factor": 2.77},
        {"epoch": 1, "factor": float("inf")},
        {"epoch": 1, "factor": "much"},
        {"epoch": 2, "factor": 1.0},
        {"epoch": 1, "factor": 0.5},
    ],
)
def test_hostile_fields_are_refused_and_cost_nothing(
    tmp_path: Path, fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seals = unlocked(tmp_path)
    sealed, _ = seals.seal(CONTENT, b"frame")

    def never(*_: object) -> None:
        raise AssertionError("a hostile frame made us derive keys")

    monkeypatch.setattr("lightfast.security.sealing.seals.derive", never)
    with pytest.raises(FailedPrecondition) as found:
        seals.open(sealed, b"frame", fields)
    assert found.value.reason == "SEAL_BROKEN"


def test_secrets_have_a_length_and_one_normal_form() -> None:
    assert read_secret("Zwo\u0308lf Boxer") == read_secret("Zw\u00f6lf Boxer")
    for secret in ("", "short", "x" * 2000, "\ud800" * 9):
        with pytest.raises(InvalidArgument) as refused:
            read_secret(secret)
        assert refused.value.reason == "SECRET_LENGTH"


def test_the_file_of_keys_is_checked(tmp_path: Path) -> None:
    seals = unlocked(tmp_path)
    path = tmp_path / keyring.NAME
    sound = path.read_bytes()
    assert path.stat().st_mode & 0o077 == 0
    assert SECRET.encode() not in sound
    for bad in (b"", b"{}", b"null", sound[:-20], sound.replace(b'"epoch":1', b'"epoch":0')):
        path.write_bytes(bad)
        with pytest.raises(FailedPrecondition) as found:
            seals.unlock(read_secret(SECRET))
        assert found.value.reason == "SEAL_KEYS_DAMAGED"
    newer = msgspec.json.decode(sound) | {"format": 2}
    path.write_bytes(msgspec.json.encode(newer))
    with pytest.raises(FailedPrecondition) as found:
        seals.unlock(read_secret(SECRET))
    assert found.value.reason == "SEAL_TOO_NEW"
    path.unlink()
    with pytest.raises(NotFound):
        seals.unlock(read_secret(SECRET))
    path.write_bytes(sound)
    path.chmod(0o600)
    with pytest.raises(AlreadyExists):
        seals.unlock(read_secret(SECRET), create=True)


def test_the_secret_changes_and_every_frame_follows(tmp_path: Path) -> None:
    seals = unlocked(tmp_path)
    frames = [(f"frame-{number}".encode(), number / 2) for number in range(9)]
    sealed = [(name, *seals.seal(name * 9, name, {"thought_patterns": {"a": factor}})) for name, factor in frames]
    steps: list[tuple[int, int]] = []
    seals.rotate(read_secret(SECRET), read_secret(OTHER), lambda done, total: steps.append((done, total)))
    assert steps == [(number, 11) for number in range(1, 12)]
    sealed.append((b"new", *seals.seal(b"new" * 9, b"new")))
    assert sealed[-1][2]["epoch"] == 2
    with pytest.raises(Denied):
        unlocked(tmp_path, SECRET)
    third = "and a third one at last"
    seals.lock()
    with pytest.raises(Denied):
        seals.rotate(read_secret(SECRET), read_secret(third), lambda *_: None)
    seals.rotate(read_secret(OTHER), read_secret(third), lambda *_: None)
    assert not seals.unlocked
    again = unlocked(tmp_path, third)
    for name, content, fields in sealed:
        assert again.open(content, name, fields) == name * 9


ROTATE = """
import sys
from pathlib import Path
from lightfast.security.sealing import derive
from lightfast.security.sealing.derive import read_secret
from lightfast.security.sealing.seals import Seals
seals = Seals(Path(sys.argv[1]))
now, then = sys.argv[2], sys.argv[3]
derive.MULTIPLIERS = (0.01, 0.013, 0.017)
while True:
    seals.rotate(read_secret(now), read_secret(then), lambda done, total: print(done, flush=True))
    print("done", flush=True)
    now, then = then, now
"""


def test_a_kill_while_the_secret_changes_leaves_exactly_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(4)
    monkeypatch.setattr("lightfast.security.sealing.derive.MULTIPLIERS", (0.01, 0.013, 0.017))
    seals = unlocked(tmp_path)
    frames = [(name, *seals.seal(name, name)) for name in (b"one", b"two")]
    now, then = SECRET, OTHER
    for _ in range(CRASHES):
        process = subprocess.Popen(
            [sys.executable, "-c", ROTATE, str(tmp_path / keyring.NAME), now, then],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            with watched(process, "what changes the secret"):
                for _ in range(chance.randrange(1, 14)):
                    assert process.stdout.readline()
        finally:
            process.kill()
            process.wait(30)
            assert process.stdout is not None
            process.stdout.close()
        found = []
        for secret in (SECRET, OTHER):
            try:
                again = unlocked(tmp_path, secret)
            except Denied:
                continue
            found.append(secret)
            for name, content, fields in frames:
                assert again.open(content, name, fields) == name
            frames.append((b"more", *again.seal(b"more", b"more")))
        assert len(found) == 1
        now, then = (SECRET, OTHER) if found == [SECRET] else (OTHER, SECRET)
    assert Seals(tmp_path / keyring.NAME).created
    keyring.clean(tmp_path / keyring.NAME)
    assert [path.name for path in tmp_path.iterdir()] == [keyring.NAME]


def test_locking_wipes_keys_and_secret(tmp_path: Path) -> None:
    seals = unlocked(tmp_path)
    keys, secret = seals._sets[FLOOR], seals._secret
    assert any(keys[0])
    seals.lock()
    assert not any(byte for key in keys for byte in key)
    assert not any(secret)
    given = read_secret(SECRET)
    seals.unlock(given)
    assert not any(given)


async def test_the_vault_locks_itself_and_says_so(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    told: list[bool] = []
    closed = asyncio.Event()

    async def tell(now_open: bool) -> None:
        told.append(now_open)
        if not now_open:
            closed.set()

    vault.on_change.append(tell)
    with pytest.raises(InvalidArgument):
        await vault.unlock(SECRET, ttl=0)
    await vault.unlock(SECRET, ttl=0.2, create=True)
    assert vault.expire_time
    assert told == [True]
    await asyncio.wait_for(closed.wait(), 30)
    assert not is_open(vault)
    assert not vault.expire_time
    await vault.unlock(SECRET)
    steps = [step async for step in vault.rotate(SECRET, OTHER)]
    assert steps[-1].done == steps[-1].total == 11
    with pytest.raises(Denied):
        async for _ in vault.rotate(SECRET, "a secret to come"):
            pass
    with pytest.raises(InvalidArgument):
        async for _ in vault.rotate(OTHER, OTHER):
            pass
    await vault.close()
    assert not is_open(vault)


async def test_guesses_wait_in_a_short_line(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    await vault.unlock(SECRET, create=True)
    await vault.lock()
    results = await asyncio.gather(
        *[vault.unlock(f"a guess, number {n}") for n in range(MAX_WAITING + 3)], return_exceptions=True
    )
    assert sum(isinstance(result, Exhausted) for result in results) == 3
    assert sum(isinstance(result, Denied) for result in results) == MAX_WAITING
    await vault.close()


async def test_a_credential_unlocks_at_the_start(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    vault = Vault(tmp_path)
    await vault.unlock_from_credential("")
    await vault.unlock_from_credential(str(credentials))
    assert not is_open(vault)
    (credentials / CREDENTIAL).write_text(SECRET + "\n")
    await vault.unlock_from_credential(str(credentials))
    assert is_open(vault)
    await vault.lock()
    (credentials / CREDENTIAL).write_text("some other secret")
    await vault.unlock_from_credential(str(credentials))
    assert not is_open(vault)
    await vault.close()


def test_a_secret_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(SECRET + "\r\n")
    path.chmod(0o644)
    with pytest.raises(FailedPrecondition) as refused:
        read_secret_file(path)
    assert refused.value.reason == "KEY_FILE"
    path.chmod(0o600)
    assert read_secret_file(path) == SECRET
