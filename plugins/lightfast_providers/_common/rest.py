"""A line to a service over HTTP: answers are bounded, and every failure is a `ProviderError`."""

from __future__ import annotations

import asyncio
import importlib.util
import ipaddress
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from lightfast.sdk import MissingDependency, ProviderError, Secret
from lightfast_providers._common.offloop import loaded

if TYPE_CHECKING:
    import httpx2

MOST_BYTES = 256 * 1024 * 1024
"""The largest result that is taken in; a minute of film in full HD has about a tenth of it."""
MOST_TOLD = 32 * 1024 * 1024
"""The largest answer that only tells something, such as the state of a job."""
HOPS = 3
"""So many redirects are followed for a result, each checked like the first address."""
_KINDS = {
    400: "invalid", 401: "auth", 402: "limit", 403: "denied", 404: "not_found", 405: "invalid", 408: "timeout",
    409: "failed", 413: "invalid", 415: "invalid", 422: "invalid", 429: "limit", 503: "overloaded", 504: "timeout",
    529: "overloaded",
}  # fmt: skip
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: *headers* in lower case, *content* whole."""

    service: str
    status: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False)

    def json(self) -> Any:
        """Return the content as JSON; raise `ProviderError` (malformed) where it is none."""
        try:
            return json.loads(self.content)
        except ValueError:
            kind = self.headers.get("content-type", "no type")
            raise ProviderError(
                f"{self.service} answered with {len(self.content)} bytes of {kind} that are no JSON", kind="malformed"
            ) from None

    def table(self) -> dict[str, Any]:
        """Return the content as a JSON object; raise `ProviderError` (malformed) where it is none."""
        found = self.json()
        if not isinstance(found, dict):
            raise ProviderError(f"{self.service} answered with JSON that is no object", kind="malformed")
        return found

    def told(self) -> Any:
        """Return the content as JSON if it is, else as the beginning of a text: for messages of errors."""
        try:
            return json.loads(self.content)
        except ValueError:
            return self.content[:300].decode("utf-8", "replace")

    def number(self, header: str) -> float | None:
        """Return a header as a finite number; `None` where it is not there or no number."""
        try:
            found = float(self.headers[header])
        except (KeyError, ValueError):
            return None
        return found if math.isfinite(found) else None

    def retry_after(self) -> float:
        """Return the seconds of `retry-after`, -1 where the service does not say."""
        found = self.number("retry-after")
        return -1.0 if found is None or found < 0 else found


Explain = Callable[[Answer], ProviderError | None]
"""Makes an error of an answer with a status of 400 or more; `None`: by the status alone."""


class Rest:
    """Sends requests to one service; the client under it is made with the first and shared by all sessions."""

    def __init__(self, service: str, install: str, explain: Explain | None = None) -> None:
        """*service* is its name for messages; *install* is the line that installs what this needs."""
        self.service = service
        self._install = install
        self._explain = explain
        self._client: httpx2.AsyncClient | None = None

    async def send(
        self,
        method: str,
        url: str,
        *,
        key: Secret | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
        most: int = MOST_TOLD,
        paid: bool = False,
        explain: Explain | None = None,
        **body: Any,
    ) -> Answer:
        """Return the answer to one request of at most *most* bytes within *timeout* seconds.

        *body* is `json`, `data`, `files`, `params` or `content` of httpx2; *key* is kept out of errors. With *paid* a
        request that may have arrived is never called retryable when its answer is lost: to send it again could cost
        twice. *explain* is for the errors of this request alone. Raises `ProviderError`.
        """
        answer = await self._guarded(
            self._send(method, url, headers, most, body), url, timeout, key, retryable=False if paid else None
        )
        if answer.status < 400:
            return answer
        raise self._error(answer, key, explain or self._explain)

    async def fetch(self, url: str, *, base_url: str = "", timeout: float = 300.0, most: int = MOST_BYTES) -> Answer:
        """Return the result that lies at *url*, an address a service gave; no key goes there.

        Only http and https to public addresses; loopback only where *base_url*, the service itself, is there.
        """
        local = is_loopback(base_url)
        return await self._guarded(self._fetch(url, local=local, most=most), url, timeout, None)

    async def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    # -- within

    def _open(self) -> httpx2.AsyncClient:
        if self._client is None:
            try:
                import httpx2
            except ImportError:
                raise MissingDependency("httpx2", self._install) from None
            limits = httpx2.Limits(max_connections=64, max_keepalive_connections=8, keepalive_expiry=15.0)
            self._client = httpx2.AsyncClient(
                headers={"Accept-Encoding": "identity"},  # so that the bytes on the wire are those in memory
                timeout=None,
                limits=limits,
                follow_redirects=False,
                # Proxies of the environment are not for this machine itself.
                mounts={"all://127.0.0.1": None, "all://localhost": None, "all://[::1]": None},
            )
        return self._client

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str] | None, most: int, body: Mapping[str, Any]
    ) -> Answer:
        async with self._open().stream(method, url, headers=headers, **body) as response:
            return await self._read(response, most)

    async def _read(self, response: httpx2.Response, most: int) -> Answer:
        said = response.headers.get("content-length", "")
        if said.isdigit() and int(said) > most:
            raise self._too_large(most)
        parts, size = [], 0
        async for part in response.aiter_bytes():
            size += len(part)
            if size > most:
                raise self._too_large(most)
            parts.append(part)
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(self.service, response.status_code, headers, b"".join(parts))

    async def _fetch(self, url: str, *, local: bool, most: int) -> Answer:
        for _ in range(HOPS + 1):
            await self._check_address(url, local=local)
            async with self._open().stream("GET", url) as response:
                if response.has_redirect_location:
                    url = urljoin(url, response.headers["location"])
                    continue
                self._check_peer(response, local=local)
                answer = await self._read(response, most)
            if answer.status >= 400:
                raise ProviderError(
                    f"the result of {self.service} could not be fetched: status {answer.status}",
                    kind=_KINDS.get(answer.status, "unavailable" if answer.status >= 500 else "failed"),
                )
            return answer
        raise ProviderError(f"the result of {self.service} was redirected more than {HOPS} times", kind="malformed")

    async def _check_address(self, url: str, *, local: bool) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port, parts = None, None, urlsplit("")
        if parts.scheme not in ("http", "https") or not host:
            raise self._refused(parts.scheme or "no scheme")
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port or (443 if parts.scheme == "https" else 80))
        except OSError:
            raise ProviderError(
                f"the host {host} with the result of {self.service} cannot be found", kind="unavailable"
            ) from None
        for entry in found:
            if not _allowed(str(entry[4][0]), local=local):
                raise self._refused(f"{host}, which is in a private network")

    def _check_peer(self, response: httpx2.Response, *, local: bool) -> None:
        """Look at who was connected to: a name may lead elsewhere a moment after it was checked."""
        from urllib.request import getproxies

        stream = response.extensions.get("network_stream")
        peer = stream.get_extra_info("server_addr") if stream is not None else None
        if peer and not getproxies() and not _allowed(str(peer[0]), local=local):
            raise self._refused(f"{response.url.host}, which is in a private network")

    def _refused(self, what: str) -> ProviderError:
        return ProviderError(
            f"{self.service} says its result lies at {what}: only public http and https addresses are fetched",
            kind="malformed",
        )

    def _too_large(self, most: int) -> ProviderError:
        return ProviderError(f"{self.service} answered with more than {most} bytes", kind="too_large")

    async def _guarded(
        self, work: Any, url: str, timeout: float, key: Secret | None, *, retryable: bool | None = None
    ) -> Answer:
        client_errors: Any = ()
        try:
            await loaded("httpx2")
            self._open()
            import httpx2

            client_errors = (httpx2.HTTPError, httpx2.InvalidURL)
            async with asyncio.timeout(timeout):
                found: Answer = await work
            return found
        except TimeoutError:
            raise ProviderError(
                f"{self.service} did not answer within {timeout:g} s", kind="timeout", retryable=retryable
            ) from None
        except client_errors as error:
            raise self._broken(error, url, key, retryable) from None
        finally:
            work.close()

    def _broken(self, error: Exception, url: str, key: Secret | None, retryable: bool | None) -> ProviderError:
        import httpx2

        where = urlsplit(url).netloc
        what = hidden(str(error) or type(error).__name__, key)
        if isinstance(error, httpx2.InvalidURL | httpx2.UnsupportedProtocol | httpx2.LocalProtocolError):
            return ProviderError(f"no request can be sent to {self.service}: {what}", kind="invalid")
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError):
            return ProviderError(f"{self.service} cannot be reached at {where}: {what}", kind="unavailable")
        if isinstance(error, httpx2.DecodingError):
            return ProviderError(f"{self.service} answered with what cannot be decoded: {what}", kind="malformed")
        return ProviderError(
            f"the connection to {self.service} at {where} broke: {what}", kind="unavailable", retryable=retryable
        )

    def _error(self, answer: Answer, key: Secret | None, explain: Explain | None) -> ProviderError:
        error = explain(answer) if explain is not None else None
        error = error or by_status(answer, said(answer))
        error.args = (hidden(str(error), key),)
        return error


def by_status(answer: Answer, message: str, *, kind: str = "", terminal: bool = False) -> ProviderError:
    """Return the error that follows from the status of *answer*; *kind* and *terminal* where more is known."""
    usual = _KINDS.get(answer.status, "unavailable" if answer.status >= 500 else "failed")
    return ProviderError(
        f"{answer.service} refused with status {answer.status}: {message}",
        kind=kind or usual,
        retry_after=answer.retry_after(),
        terminal=terminal or answer.status == 402,
    )


def said(answer: Answer) -> str:
    """Return what an error says about itself, in one line of at most 300 characters."""
    found = answer.told()
    if isinstance(found, dict):
        for name in ("detail", "message", "error", "errors", "name", "title"):
            if found.get(name):
                found = found[name]
                break
    text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
    return " ".join(text.split())[:300] or "it says nothing more"


def hidden(text: str, key: Secret | None) -> str:
    """Return *text* without the key, if it should be in there."""
    return text.replace(key.reveal(), "***") if key is not None and key else text


def is_loopback(url: str) -> bool:
    """Say whether *url* leads to this machine, by its look."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _allowed(address: str, *, local: bool) -> bool:
    found: Address = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found in _NAT64:
            found = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        else:
            found = found.ipv4_mapped or found.sixtofour or found
    if local and found.is_loopback:
        return True
    return found.is_global and not found.is_multicast and not found.is_reserved


def needs(install: str, *modules: str) -> None:
    """Raise `MissingDependency` unless all *modules* are there; they are not loaded."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise MissingDependency(module, install)
