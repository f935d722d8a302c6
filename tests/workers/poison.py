"""A worker whose jobs are dangerous: `celery -A tests.workers.poison_app`. The library's id says what a job does."""

import os
import signal
import time
from datetime import timedelta

from celery.exceptions import SoftTimeLimitExceeded

from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from hub.jobs.models import JobKind
from workers import claiming
from workers.app import app
from workers.registration import register

SUICIDE, HANG, STUBBORN_HANG, RAISE, HOPELESS, FAIL_ONCE, SLOW = range(1, 8)
FINE = 100


def dangerous(claim: Claim) -> None:
    jobs.report_progress(claim, 1, 2, "it begins")
    match claim.ids["library_id"]:
        case 1:
            os.kill(os.getpid(), signal.SIGKILL)
        case 2:
            time.sleep(600)
        case 3:
            hang_on()
        case 4:
            raise KeyError("a bug")
        case 5:
            raise claiming.CannotBeDone("the base is not there")
        case 6 if claim.attempt == 1:
            raise ConnectionError("a passing trouble")
        case 7:
            time.sleep(4)
    jobs.log(claim, "it is done")


def hang_on() -> None:
    """Ignores the polite limit; only the end of the process helps."""
    last_moment = time.monotonic() + 600
    while time.monotonic() < last_moment:
        try:
            time.sleep(600)
        except SoftTimeLimitExceeded:
            continue


claiming.FIRST_WAIT = timedelta(seconds=0.1)
register(
    app,
    {
        JobKind.PROMOTE: claiming.Duty(dangerous, seconds=2),
        JobKind.INDEX: claiming.Duty(dangerous, seconds=60),
    },
    kill_after=1,
)
