"""Clients that are gone before they have an answer, at whichever moment."""

from __future__ import annotations

import logging
import socket
from urllib.parse import urlsplit

import pytest

from tests.serving.live import LiveServer


def test_a_client_that_leaves_while_it_sends_is_no_failure_of_the_server(
    live: LiveServer, caplog: pytest.LogCaptureFixture
) -> None:
    address = urlsplit(live.url)
    assert address.hostname is not None
    assert address.port is not None
    counted = 'fletch_requests_total{endpoint="/v1/completions",status="499"}'
    with caplog.at_level(logging.ERROR), socket.create_connection((address.hostname, address.port)) as client:
        client.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{")
        client.shutdown(socket.SHUT_RDWR)

        live.wait_until(lambda: counted in live.get("/metrics").text)

    assert caplog.records == []
