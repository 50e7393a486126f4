"""A real Pd with a patch, and a real daemon: nothing in between is ours but the abstractions in the patch."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
from tests.support.joined import Desk, daemon_with, desk, frozen
from tests.support.ports import free_port
from tests.support.puredata import Pd
from tests.support.waiting import until

from lightfast.core.errors import LightfastError
from lightfast_link.value import close

pytestmark = pytest.mark.real_app


@pytest.fixture(scope="module")
def pd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pd]:
    found = Pd(tmp_path_factory.mktemp("pd"), free_port())
    try:
        found.start()
        yield found
    finally:
        found.close()


@pytest.fixture(scope="module")
def house(pd: Pd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with desk(daemon_with(tmp_path_factory.mktemp("home"), "puredata", listen=f"127.0.0.1:{pd.listen}"), "/drone") as d:
        d.live()
        yield d


def test_the_patch_lies_in_the_tree(house: Desk) -> None:
    assert house.app().document_id == "drone"
    assert (house.value("osc/freq"), house.value("gain"), house.value("label")) == (440.0, 0.5, "hello")
    with pytest.raises(LightfastError, match="2000"):
        house.client.set(house.path("osc/freq"), 3000.0)
    with pytest.raises(LightfastError, match="osc/freq"):
        house.client.set(house.path("osc/freqq"), 3.0)


def test_set_here_it_sounds_there(house: Desk, pd: Pd) -> None:
    assert house.set("osc/freq", 123.4).status == "SETTLED"
    assert house.set("gain", -0.1).status == "SETTLED"
    assert house.set("label", "zwei Wörter, so; $1").status == "SETTLED"
    heard = pd.read()
    assert close(heard["freq"], 123.4, 1e-5)
    assert close(heard["gain"], -0.1, 1e-5)
    assert heard["label"] == "zwei Wörter, so; $1"


def test_turned_there_seen_here(house: Desk, pd: Pd) -> None:
    pd.turn("freq", 321.0)
    house.holds("osc/freq", 321.0)
    pd.turn("gain", 0.25)
    house.holds("gain", 0.25)
    pd.turn("label", "ciao")
    house.holds("label", "ciao")
    pd.turn("freq", 99_999.0)  # the abstraction keeps to its range
    house.holds("osc/freq", 2000.0)


def test_a_bang_is_a_command(house: Desk, pd: Pd) -> None:
    before = pd.read()["bangs"]
    house.invoke("bang", name="go")
    house.invoke("go")
    assert pd.read()["bangs"] == before + 2
    with pytest.raises(LightfastError, match="its bangs are go"):
        house.invoke("bang", name="stop")


def test_killed_and_started_again_it_gets_its_values_back(house: Desk, pd: Pd) -> None:
    house.set("osc/freq", 777.0)
    house.set("label", "kept")
    pd.kill()
    began = time.monotonic()
    pd.start()
    until(lambda: house.app().document_id == "drone" and pd.read()["freq"] == 777.0, "the frequency is back")
    print(f"\nPd: in step {time.monotonic() - began:.2f} s after it was killed")
    house.live()
    house.holds("osc/freq", 777.0)
    assert pd.read()["label"] == "kept"


def test_the_daemon_may_restart(house: Desk, pd: Pd) -> None:
    house.set("gain", 0.75)
    house.daemon.kill()
    pd.turn("freq", 432.0)  # while nobody listens
    began = time.monotonic()
    house.daemon.start()
    house.client.close()
    house.client = type(house.client)(home=house.daemon.home)
    house.live()
    print(f"\nPd: in step {time.monotonic() - began:.2f} s after the daemon was killed")
    house.holds("osc/freq", 432.0)
    house.holds("gain", 0.75)


def test_frozen_it_is_said_and_it_comes_back(house: Desk, pd: Pd) -> None:
    assert pd.process is not None
    with frozen(pd.process.pid):
        reason = house.troubled()
        assert "answer" in reason
    house.live()
    assert house.set("osc/freq", 555.0).status == "SETTLED"
    assert pd.read()["freq"] == 555.0


def test_garbage_to_both_ends_is_harmless(house: Desk, pd: Pd) -> None:
    assert pd.process is not None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        ports = [pd.listen, int(house.app().instance_id.rpartition("@")[2])]
        for port in ports:
            for data in (b"", b"\0", b"/lightfast", b"#bundle\0" + b"\xff" * 40, b"/lightfast/set\0\0,fff" + b"\0" * 3):
                stranger.sendto(data, ("127.0.0.1", port))
    house.set("osc/freq", 222.0)
    until(lambda: pd.read()["freq"] == 222.0, "the wish in the patch")
    house.live()
    assert pd.process.poll() is None
