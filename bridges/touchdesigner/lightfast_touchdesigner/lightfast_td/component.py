"""The Lightfast component: a session in its frame, started, stopped and shown by the custom parameters."""

import time
import traceback

from . import VERSION
from .session import Session
from .settings import RESTART, SHOWN, Settings

HEARTBEAT_MS = 100
"""Milliseconds after which a beat of our own does the work of a frame that did not come: with a paused timeline."""
STILL = 0.08
"""Seconds since the last frame after which a beat works."""
TELL_EVERY = 0.5
"""Seconds between two looks at the status."""
SETTLE = 0.3
"""Seconds after the last change of a parameter of ours, before it counts."""


class Component:
    """What the extension of the component *owner* hands everything to; *td* is TouchDesigner's module."""

    def __init__(self, td, owner):
        self.td = td
        self.owner = owner
        self.session = None
        self._closed = False
        self._framed = 0.0
        self._told = 0.0
        self._restart_at = 0.0
        self._show("Version", VERSION)
        self.restart()
        self._beat_later()

    def restart(self):
        """Join anew with what the parameters say now."""
        self._restart_at = 0.0
        if self.session is not None:
            self.session.leave()
            self.session = None
        try:
            settings = Settings(self.owner)
            if settings.active and not self._closed:
                self.session = Session(self.td, self.owner, settings)
        except Exception as error:  # td raises errors of its own; the extension must come up all the same
            traceback.print_exc()
            self._show("Status", "%s: %s" % (type(error).__name__, error))
        self._told = 0.0

    def frame(self):
        """Do the work of one frame."""
        now = time.monotonic()
        self._framed = now
        if self._closed:
            return
        if self._restart_at and now >= self._restart_at:
            self._restart_at = 0.0
            if self.session is None or vars(Settings(self.owner)) != vars(self.session.settings):
                self.restart()
        if self.session is not None:
            self.session.pump()
        if now >= self._told + TELL_EVERY:
            self._told = now
            self._show("Status", "off" if self.session is None else self.session.status)

    def beat(self):
        """Do the work of a frame that did not come, and beat again."""
        if self._closed or not self.owner.valid:
            return
        if time.monotonic() - self._framed > STILL:
            self.frame()
        self._beat_later()

    def changed(self, par):
        """Take note that the user changed a parameter of ours."""
        if par.name not in SHOWN:
            wait = 0.0 if par.name in RESTART and par.name != "Name" else SETTLE
            self._restart_at = time.monotonic() + max(wait, 0.001)

    def pulsed(self, par):
        """Take note of a pulse."""
        if par.name == "Reconnect":
            self.restart()

    def saving(self):
        """Take note that the project is about to be saved."""
        if self.session is not None:
            self.session.saving()

    def saved(self):
        """Take note that the project was saved."""
        if self.session is not None:
            self.session.saved()

    def close(self):
        """Say goodbye for good."""
        self._closed = True
        if self.session is not None:
            self.session.leave()
            self.session = None

    def _beat_later(self):
        resources = getattr(self.td.op, "TDResources", None)
        self.td.run("args[0].beat()", self, delayMilliSeconds=HEARTBEAT_MS, delayRef=resources)

    def _show(self, name, text):
        par = self.owner.par[name]
        if par is not None and par.eval() != text:
            par.val = text
