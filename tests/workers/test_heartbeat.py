"""The thread that keeps a lease leaves the signals of its process alone."""

import signal
import threading
from datetime import timedelta

import pytest
from django.conf import settings

from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from hub.jobs.models import JobKind
from workers.heartbeat import Heartbeat


def test_a_signal_to_the_process_is_for_its_main_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "LEASE", timedelta(seconds=0.04))
    blocked: list[set[int]] = []
    beat = threading.Event()

    def beaten(_claim: Claim) -> None:
        blocked.append(signal.pthread_sigmask(signal.SIG_BLOCK, []))
        beat.set()

    monkeypatch.setattr(jobs, "heartbeat", beaten)
    with Heartbeat(Claim(job_id=1, kind=JobKind.PROMOTE, ids={}, attempt=1, token=1)):
        assert beat.wait(10)

    assert {signal.SIGTERM, signal.SIGUSR1, signal.SIGINT} <= blocked[0]
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
