"""An import never reaches this machine or its network, however the way there is spelt."""

import httpx2
import pytest

from hub.outbound import Checked, Refused
from hub.public_addresses import NotPublic, is_public, public_address
from tests.workers.other_hub import other_hub
from workers.outbound import Outside

INSIDE = [
    "127.0.0.1",
    "127.8.9.1",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1%eth0",
    "fd00::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::a00:1",
    "2002:7f00:1::",
    "2001:0:4136:e378:8000:63bf:80ff:fffe",
]
OUTSIDE = ["93.184.215.14", "2606:4700::6810:84e5", "64:ff9b::5db8:d70e"]


@pytest.mark.parametrize("address", INSIDE)
def test_addresses_of_this_machine_and_its_network_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", OUTSIDE)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f.1", "0177.0.0.1"])
def test_other_spellings_of_this_machine_are_found_out(host: str) -> None:
    with pytest.raises(NotPublic, match="not a public address"):
        public_address(host, 443)


def test_one_private_address_among_public_ones_is_enough_to_refuse() -> None:
    with pytest.raises(NotPublic, match=r"10\.0\.0\.1"):
        public_address("both.example", 443, ask=lambda *_: [OUTSIDE[0], "10.0.0.1"])


def test_the_connection_goes_to_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that resolves to something else a moment later changes nothing: it is resolved once."""
    seen: list[httpx2.Request] = []

    def connected(_self: object, request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200, content=b"{}")

    monkeypatch.setattr(httpx2.HTTPTransport, "handle_request", connected)
    answers = iter([[OUTSIDE[0]], ["127.0.0.1"]])
    way = Checked("https://hub.example", ask=lambda *_: next(answers))

    way.handle_request(httpx2.Request("GET", "https://cdn.example/file?x=1"))

    assert str(seen[0].url) == f"https://{OUTSIDE[0]}/file?x=1"
    assert seen[0].headers["Host"] == "cdn.example"
    assert seen[0].extensions["sni_hostname"] == "cdn.example"


@pytest.mark.parametrize("url", ["http://cdn.example/x", "https://localhost/x", "https://[::1]/x"])
def test_another_host_is_reached_by_https_and_in_public_only(url: str) -> None:
    with pytest.raises(Refused, match="it leads"):
        Checked("https://hub.example").handle_request(httpx2.Request("GET", url))


def test_an_import_ends_at_its_last_moment() -> None:
    with (
        other_hub() as there,
        Outside(there.address, seconds=-1.0) as outside,
        pytest.raises(Refused, match="longer than an import may take"),
    ):
        outside.json("/api/models/ada/poems/revision/main")
