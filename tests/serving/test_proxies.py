"""Where a request comes from is what its connection says, and a proxy's word only if the operator named it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import uvicorn

from workers.serving import __main__ as process
from workers.serving.metrics import Metrics
from workers.serving.options import Options

Heard = Callable[..., str]


@dataclass(frozen=True)
class Application:
    """It takes note of where each request comes from."""

    options: Options
    seen: list[str]

    @property
    def state(self) -> SimpleNamespace:
        return SimpleNamespace(server=SimpleNamespace(options=self.options, metrics=Metrics()))

    async def __call__(self, scope: dict[str, Any], _receive: Any, _send: Any) -> None:
        self.seen.append(scope["client"][0])


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    """The address that a process which was started with these words takes a request to come from."""
    seen: list[str] = []
    monkeypatch.setattr(process, "create_app", lambda options, _traces: Application(options, seen))
    monkeypatch.setattr(process, "_keep_pauses_short", lambda: None)
    monkeypatch.setattr("workers.serving.__main__.heap.share", lambda: None)
    monkeypatch.setattr("workers.serving.__main__.logs.begin", lambda _format: None)
    monkeypatch.setattr(torch, "set_num_threads", lambda _count: None)

    def ask(*words: str, peer: str = "127.0.0.1", forwarded: str = "192.0.2.7") -> str:
        def run(_app: Any, config: uvicorn.Config, _given: Any) -> None:
            config.load()
            headers = [(b"x-forwarded-for", forwarded.encode())]
            scope: Any = {"type": "http", "asgi": {}, "client": (peer, 9), "headers": headers}
            unused: Any = None
            asyncio.run(config.loaded_app(scope, unused, unused))

        monkeypatch.setattr(process, "_listen", run)
        process.main(["--store", "store", "--device", "cpu", *words])
        return seen[-1]

    return ask


def test_nobody_chooses_an_address_where_no_proxy_is_named(heard: Heard) -> None:
    assert heard() == "127.0.0.1"


def test_a_named_proxy_is_believed_and_no_other(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    named = ("--trusted-proxies", "127.0.0.1", "172.16.0.0/12")

    assert heard(*named) == heard(*named, peer="172.18.0.1") == "192.0.2.7"
    assert heard(*named, peer="198.51.100.1") == "198.51.100.1"
    assert heard(*named, forwarded="203.0.113.9, 192.0.2.7") == "192.0.2.7"  # what the proxy itself has added
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.1, 127.0.0.1")
    assert heard() == "192.0.2.7"
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "")
    assert heard() == "127.0.0.1"


@pytest.mark.parametrize(
    ("said", "wrong"), [("*", "every client would choose"), ("proxy.local", "expected an address or network")]
)
def test_what_names_no_proxy_is_refused(
    heard: Heard, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], said: str, wrong: str
) -> None:
    with pytest.raises(SystemExit):
        heard("--trusted-proxies", said)
    assert wrong in (by_option := capsys.readouterr().err)
    assert "--trusted-proxies" in by_option
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", said)
    with pytest.raises(SystemExit):
        heard()
    assert "FORWARDED_ALLOW_IPS: found" in capsys.readouterr().err
