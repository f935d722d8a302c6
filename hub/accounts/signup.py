"""How allauth treats our users."""

from allauth.account.adapter import DefaultAccountAdapter
from django.http import HttpRequest

from hub.accounts import addresses


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """As everywhere else here: names are lower-cased before they are looked up or stored, and a visitor's
    address is what lies behind the proxies of ours.
    """

    def clean_username(self, username: str, shallow: bool = False) -> str:  # noqa: FBT001, FBT002  allauth's signature
        return str(super().clean_username(username.lower(), shallow=shallow))

    def get_client_ip(self, request: HttpRequest) -> str:
        """What limits on signing in count by. A request with fewer hops than there are proxies of ours came
        another way, so it is the machine that it came from; allauth itself would fail on it.
        """
        return addresses.address(request) or "a socket"
