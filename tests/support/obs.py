"""A real OBS on a virtual screen, and a small client of obs-websocket that is not ours."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.support.netns import Network

INSTALL = "apt-get install --no-install-recommends obs-studio xvfb"
PASSWORD = "sesame-42"
PORT = 4455
"""The usual port: the network that OBS runs in is its own."""
GONE_S = 60.0
"""Seconds that a program has to be gone after it was killed."""
_GLOBAL = f"""[General]
FirstRun=true
LastVersion=486539266
EnableAutoUpdates=false
InfoIncrement=99
[OBSWebSocket]
FirstLoad=false
ServerEnabled=true
ServerPort={PORT}
AlertsEnabled=false
AuthRequired=true
ServerPassword={PASSWORD}
[Basic]
Profile=Untitled
ProfileDir=Untitled
SceneCollection=Untitled
SceneCollectionFile=Untitled
ConfigOnNewProfile=false
"""
_BASIC = """[General]
Name=Untitled
[Video]
BaseCX=320
BaseCY=180
OutputCX=320
OutputCY=180
FPSType=1
FPSInt=10
[Output]
Mode=Simple
[SimpleOutput]
FilePath={folder}
RecFormat=mkv
"""


class Obs:
    """A real OBS in a network of its own; its profile and scenes stay in a folder."""

    def __init__(self, folder: Path, net: Network) -> None:
        self.folder, self.net = folder, net
        self.home = folder / "obs-home"
        self.log = folder / "obs.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._screen: subprocess.Popen[bytes] | None = None
        self._display = ""

    def start(self) -> None:
        """Start it, with the screen the first time; skip the test where either is missing."""
        if shutil.which("obs") is None or shutil.which("Xvfb") is None:
            pytest.skip(f"no OBS here: {INSTALL}")
        if self._screen is None:
            self._prepare()
            self._start_screen()
        environ = {
            **os.environ,
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home),
            "XDG_RUNTIME_DIR": str(self.home),
            "DISPLAY": self._display,
            "LIBGL_ALWAYS_SOFTWARE": "1",
            "QT_QPA_PLATFORM": "xcb",
        }
        line = ["obs", "--multi", "--minimize-to-tray", "--disable-updater", "--disable-shutdown-check"]
        with self.log.open("ab") as log:
            self.process = self.net.popen(line, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ)

    def _prepare(self) -> None:
        config = self.home / "obs-studio"
        profile = config / "basic" / "profiles" / "Untitled"
        profile.mkdir(parents=True)
        (config / "global.ini").write_text(_GLOBAL, encoding="utf-8")
        (profile / "basic.ini").write_text(_BASIC.format(folder=self.folder), encoding="utf-8")

    def _start_screen(self) -> None:
        """Start a screen, which says by itself which number it has."""
        told, tell = os.pipe()
        line = ["Xvfb", "-displayfd", str(tell), "-screen", "0", "640x480x24", "+extension", "GLX", "-nolisten", "tcp"]
        with (self.folder / "xvfb.log").open("ab") as log:
            self._screen = self.net.popen(line, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(tell,))
        os.close(tell)
        with os.fdopen(told, encoding="ascii") as number:
            self._display = ":" + number.readline().strip()
        assert len(self._display) > 1, (self.folder / "xvfb.log").read_text(encoding="utf-8")

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(GONE_S)
            self.process = None

    def close(self) -> None:
        """End it, and its screen."""
        try:
            self.kill()
        finally:
            if self._screen is not None:
                self._screen.terminate()
                try:
                    self._screen.wait(5)
                except subprocess.TimeoutExpired:
                    self._screen.kill()
                    self._screen.wait(GONE_S)

    def client(self, within: float = 120.0) -> Client:
        """Return a client of its own, once OBS takes one."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            try:
                return Client(self.net)
            except (OSError, EOFError):
                time.sleep(0.1)
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text(encoding="utf-8", errors="replace")[-3000:]
        raise AssertionError(self.log.read_text(encoding="utf-8", errors="replace")[-3000:])


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


class Client:
    """Speaks obs-websocket without events: what the user's other tools do, and an independent look at OBS."""

    def __init__(self, net: Network) -> None:
        from websockets.exceptions import WebSocketException
        from websockets.sync.client import connect

        self._stack = ExitStack()
        try:
            with net.inside():
                opened = connect(f"ws://127.0.0.1:{PORT}", open_timeout=5, proxy=None, max_size=1 << 25)
                self._socket = self._stack.enter_context(opened)
            hello = json.loads(self._socket.recv(timeout=5))["d"]["authentication"]
            answer = _hash(_hash(PASSWORD + hello["salt"]) + hello["challenge"])
            identify = {"rpcVersion": 1, "authentication": answer, "eventSubscriptions": 0}
            self._socket.send(json.dumps({"op": 1, "d": identify}))
            assert json.loads(self._socket.recv(timeout=5))["op"] == 2
        except WebSocketException as error:
            self._stack.close()
            raise EOFError(str(error)) from error
        except BaseException:  # whatever it is: what stays open would be told of in some later test
            self._stack.close()
            raise
        self._number = 0

    def ask(self, request: str, **data: Any) -> dict[str, Any]:
        """Make one request and return what it gave."""
        self._number += 1
        message = {"requestType": request, "requestId": str(self._number), "requestData": data}
        self._socket.send(json.dumps({"op": 6, "d": message}))
        while True:
            said = json.loads(self._socket.recv(timeout=60))
            if said["op"] == 7 and said["d"]["requestId"] == str(self._number):
                assert said["d"]["requestStatus"]["result"], said["d"]
                found: dict[str, Any] = said["d"].get("responseData") or {}
                return found

    def close(self) -> None:
        """Leave."""
        self._stack.close()
