"""The errors a plugin may raise on purpose."""

from __future__ import annotations


class PluginError(Exception):
    """The root; its message is shown to the user."""


class MissingDependency(PluginError):
    """Something the plugin needs is not installed; *install* is the line that installs it."""

    def __init__(self, what: str, install: str) -> None:
        super().__init__(f"{what} is not installed: run {install}")
        self.what = what
        self.install = install


class ProviderError(PluginError):
    """A generation failed. *retryable* says whether trying again, here or elsewhere, may help."""

    def __init__(self, message: str, *, retryable: bool = False, reason: str = "PROVIDER_FAILED") -> None:
        super().__init__(message)
        self.retryable = retryable
        self.reason = reason


class BridgeError(PluginError):
    """A bridge cannot do what was asked of it."""
