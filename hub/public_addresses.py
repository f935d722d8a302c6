"""Which addresses the hub may connect to on behalf of a stranger: public ones, however they are spelt."""

import ipaddress
import socket
from collections.abc import Callable, Iterator

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], list[str]]
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")


class NotPublic(Exception):
    """A name or an address of this machine, of its network, or of no host at all."""


def resolve(host: str, port: int) -> list[str]:
    """Every address of a host, as the system's resolver says. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def public_address(host: str, port: int, *, ask: Resolve = resolve) -> str:
    """One address to connect to. All that the name resolves to must be public, so that no order of them
    matters. Raises NotPublic, OSError.
    """
    found = ask(host, port)
    for text in found:
        if not is_public(text):
            raise NotPublic(f"{host} is {text}, which is not a public address")
    if not found:
        raise NotPublic(f"{host} has no address")
    return found[0]


def is_public(text: str) -> bool:
    """Whether an address, and every address that is wrapped in it, belongs to the public internet."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return all(one.is_global and not one.is_multicast for one in _layers(address))


def _layers(address: Address) -> Iterator[Address]:
    yield address
    if isinstance(address, ipaddress.IPv4Address):
        return
    inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in NAT64 or address in LOCAL_NAT64:
        inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    yield from (one for one in inner if one is not None)
