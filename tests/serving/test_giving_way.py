"""A thread that gives way is nicer than before, and no other is."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from workers.serving.giving_way import NICER, give_way


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority of their own elsewhere")
def test_it_alone_gives_way() -> None:
    seen: list[int] = []

    def nice() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def work() -> None:
        give_way()
        seen.append(nice())
        give_way()
        seen.append(nice())

    before = nice()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert seen == [max(NICER, before)] * 2
    assert nice() == before


def test_where_it_may_not_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: int) -> None:
        raise PermissionError("not in this sandbox")

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "setpriority", forbidden)

    give_way()
