"""The way out: to hubs that the operator named, and from there to public addresses only.

Every hop is resolved once, checked, and connected to at the address that was checked: a name that resolves to
something else a moment later changes nothing. No hop gets a token or a cookie of ours.
"""

import ipaddress

import httpx2

from hub import public_addresses
from hub.public_addresses import NotPublic, Resolve

MOST_HOPS = 5
SECONDS_TO_CONNECT = 10.0
SECONDS_OF_SILENCE = 30.0
MOST_JSON = 4 * 1024 * 1024


class Refused(Exception):
    """What the other side offers cannot be taken; trying again would end the same way."""


class Unreachable(Exception):
    """The other side does not answer as it should; it may later."""


class Checked(httpx2.BaseTransport):
    """Connects to the named endpoint as it is, and to anything else only by https at a public address."""

    def __init__(self, endpoint: str, *, ask: Resolve = public_addresses.resolve) -> None:
        self._trusted = origin_of(httpx2.URL(endpoint))
        self._ask = ask
        self._inner = httpx2.HTTPTransport(trust_env=False)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        if origin_of(url) == self._trusted:
            return self._inner.handle_request(request)
        if url.scheme != "https":
            raise Refused(f"it leads to {url.host} without https")
        try:
            address = public_addresses.public_address(url.host, url.port or 443, ask=self._ask)
        except NotPublic as error:
            raise Refused(f"it leads out of the public internet: {error}") from error
        pinned = url.copy_with(host=_in_a_url(address))
        extensions = {**request.extensions, "sni_hostname": url.host}
        return self._inner.handle_request(
            httpx2.Request(
                request.method, pinned, headers=request.headers, stream=request.stream, extensions=extensions
            )
        )

    def close(self) -> None:
        self._inner.close()


def origin_of(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _in_a_url(address: str) -> str:
    return f"[{address}]" if ipaddress.ip_address(address).version == 6 else address  # noqa: PLR2004
