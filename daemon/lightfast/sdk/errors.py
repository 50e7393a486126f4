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


KINDS = (
    *("failed", "invalid", "auth", "denied", "not_found", "filtered", "context", "limit", "overloaded"),
    *("unavailable", "timeout", "malformed", "too_large"),
)
"""The kinds of a `ProviderError`."""
_RETRYABLE = frozenset(("limit", "overloaded", "unavailable", "timeout"))
_REASONS = {
    "failed": "PROVIDER_FAILED",
    "invalid": "PROVIDER_REFUSED",
    "auth": "KEY_REFUSED",
    "denied": "PROVIDER_DENIED",
    "not_found": "MODEL_NOT_FOUND",
    "filtered": "CONTENT_FILTERED",
    "context": "CONTEXT_TOO_LONG",
    "limit": "PROVIDER_LIMIT",
    "overloaded": "PROVIDER_OVERLOADED",
    "unavailable": "PROVIDER_UNAVAILABLE",
    "timeout": "PROVIDER_TIMEOUT",
    "malformed": "PROVIDER_MALFORMED",
    "too_large": "ANSWER_TOO_LARGE",
}


class ProviderError(PluginError):
    """A generation failed. *retryable* says whether trying again, here or elsewhere, may help.

    *kind* is one of `KINDS`: `invalid` (the request), `auth` (the key is refused), `denied` (the account may not),
    `not_found` (the model), `filtered` (by the service's policy), `context` (too long), `limit` (a 429), `overloaded`
    (the service has too much to do), `unavailable` (it cannot be reached, 5xx, a broken connection), `timeout`,
    `malformed` (an answer that cannot be read), `too_large` (an answer beyond a bound), `failed` (else). From it follow
    *retryable* and *reason* where they are not given. *retry_after* in seconds, -1 where the service does not say.
    *terminal*: waiting does not help, such as a balance that is used up or a daily limit. *limits* is what it said
    about them: a `Limits` of `lightfast.sdk`.
    """

    def __init__(
        self,
        message: str,
        *,
        retryable: bool | None = None,
        reason: str = "",
        kind: str = "failed",
        retry_after: float = -1.0,
        terminal: bool = False,
        limits: object = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.terminal = terminal
        self.retryable = (kind in _RETRYABLE and not terminal) if retryable is None else retryable
        self.reason = reason or _REASONS.get(kind, "PROVIDER_FAILED")
        self.retry_after = retry_after
        self.limits = limits


class BridgeError(PluginError):
    """A bridge cannot do what was asked of it."""
