"""Asking a web server for a file: which addresses are taken, where redirects may lead, what an answer says."""

import http.client
import ipaddress
import re
import string
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, unquote, urldefrag, urljoin, urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from gan_augment.errors import ArtifactError, ConfigError
from gan_augment.synthesizers.fetching.provenance import source_of

__all__ = ["Version", "checked_address", "length_of", "name_of", "open_address", "rest_of"]

_REDIRECTS = 10
_LONGEST_NAME = 100


@dataclass(frozen=True, kw_only=True)
class Version:
    """By what a server tells one version of a file from another, and how long it is."""

    etag: str | None
    modified: str | None
    length: int | None

    @property
    def validator(self) -> str | None:
        """What If-Range takes: a weak ETag would let bytes differ (RFC 9110, 13.1.5)."""
        strong = self.etag is not None and not self.etag.startswith("W/")
        return self.etag if strong else self.modified

    @classmethod
    def of(cls, response: http.client.HTTPResponse, length: int | None) -> "Version":
        """Returns what an answer says."""
        return cls(etag=response.headers.get("ETag"), modified=response.headers.get("Last-Modified"), length=length)

    def may_be(self, other: "Version") -> bool:
        """Tells whether nothing that is known of both differs."""
        pairs = [(self.etag, other.etag), (self.modified, other.modified), (self.length, other.length)]
        return all(one == two for one, two in pairs if None not in (one, two))


def checked_address(address: str) -> str:
    """Returns an address as it is asked for: without a fragment, and quoted."""
    try:
        parts = urlsplit(address)
        taken = parts.hostname is not None and _is_taken(parts.scheme, parts.hostname)
        user, _ = parts.username, parts.port
    except ValueError as error:
        raise ConfigError(f"expected an address https://host/file, found {address!r:.200} ({error})") from None
    if not taken:
        raise ConfigError(
            f"expected an address https://host/file (http:// of this machine only), found {source_of(address)!r:.200}"
        )
    if user is not None:
        raise ConfigError(
            f"expected an address without a user and a password, found one of {source_of(address)!r:.200}; download "
            "it by hand and give its path"
        )
    return quote(urldefrag(address).url, safe=string.punctuation)


def _is_taken(scheme: str, host: str) -> bool:
    return scheme == "https" or (scheme == "http" and _is_loopback(host))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def name_of(url: str) -> str:
    """Returns a name for the file that is safe on every system and keeps its suffix."""
    last = unquote(urlsplit(url).path).replace("\\", "/").rsplit("/", 1)[-1]
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", last)[-_LONGEST_NAME:].strip("._-")
    return name or "file"


class _NoRedirects(HTTPRedirectHandler):
    """Leaves redirects to `open_address`, which looks at where they lead and reads no page on the way."""

    def redirect_request(self, *_: Any) -> None:
        return None


class _Proxies(ProxyHandler):
    """The proxies of the environment, but never for this machine."""

    def proxy_open(self, request: Request, proxy: str, type: str) -> Any:  # noqa: A002  (its name in the base)
        if _is_loopback(urlsplit(request.full_url).hostname or ""):
            return None
        return super().proxy_open(request, proxy, type)


def open_address(url: str, headers: dict[str, str], timeout: float) -> http.client.HTTPResponse:
    """Opens an address, following redirects to https, or from this machine to itself.

    Raises:
        ArtifactError: A redirect leads elsewhere, or there are too many.
        HTTPError: The server refused.
        OSError: There is no connection.
    """
    opener = build_opener(_NoRedirects, _Proxies)
    here = url
    for _ in range(_REDIRECTS + 1):
        try:
            response: http.client.HTTPResponse = opener.open(Request(here, headers=headers), timeout=timeout)
            return response
        except HTTPError as error:
            to = error.headers.get("Location")
            if error.code not in (301, 302, 303, 307, 308) or to is None:
                raise
            error.close()
            new = quote(urldefrag(urljoin(here, to)).url, safe=string.punctuation, encoding="latin-1")  # bytes as sent
        old, parts = urlsplit(here), urlsplit(new)
        outside = parts.scheme == "http" and not _is_loopback(old.hostname or "")
        if outside or parts.hostname is None or not _is_taken(parts.scheme, parts.hostname):
            raise ArtifactError(
                f"expected {source_of(url)} to lead to an address https://, found {source_of(new)!r:.200}; look for "
                "the address of the file itself"
            )
        here = new
    raise ArtifactError(f"expected {source_of(url)} to lead to a file, found more than {_REDIRECTS} redirects")


def length_of(response: http.client.HTTPResponse) -> int | None:
    """Returns how many bytes an answer promises; None where it does not say, or says so in two ways."""
    told = response.headers.get_all("Content-Length") or []
    chunked = response.headers.get("Transfer-Encoding") is not None
    return int(told[0]) if len(told) == 1 and not chunked and re.fullmatch(r"[0-9]{1,18}", told[0]) else None


def rest_of(response: http.client.HTTPResponse, size: int) -> int | None:
    """Returns the length of the whole file if a part of it goes from byte `size` to the end, else None."""
    told = response.headers.get("Content-Range", "").strip()
    match = re.fullmatch(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})", told)
    if match is None:
        return None
    first, last, total = map(int, match.groups())
    fits = first == size and last == total - 1 and length_of(response) in (None, total - first)
    return total if fits else None
