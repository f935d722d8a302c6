"""Where a request comes from, seen through as many proxies as the operator trusts."""

from ipaddress import IPv6Address, ip_address, ip_network

from django.conf import settings
from django.http import HttpRequest

ONE_HOUSEHOLD = 64  # bits of an IPv6 address that its owner does not change at will


def address(request: HttpRequest) -> str:
    """An IPv4 address, or the network that an IPv6 address is in; nothing where the server sits on a socket.

    Each proxy adds to X-Forwarded-For who came to it. So much of it is believed as there are proxies of ours.
    """
    direct = request.META.get("REMOTE_ADDR", "")
    hops = [*request.headers.get("X-Forwarded-For", "").split(","), direct]
    trusted = settings.TRUSTED_PROXIES
    said = hops[-1 - trusted] if trusted < len(hops) else direct
    return _normal(said) or _normal(direct)


def _normal(said: str) -> str:
    try:
        found = ip_address(said.strip())
    except ValueError:
        return ""
    if not isinstance(found, IPv6Address):
        return str(found)
    return str(found.ipv4_mapped or ip_network((int(found), ONE_HOUSEHOLD), strict=False))
