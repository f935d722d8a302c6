"""`fletch status`."""

from __future__ import annotations

from fletch import options
from fletch.account import account
from fletch.command import Outcome
from fletch.command import command as make
from fletch.hub import API, PATIENT, Hub
from fletch.names import ReleaseName
from fletch.options import Watch
from fletch.releases import watched


@make("status")
@options.release
@options.hub
@options.watching
def command(*, release: ReleaseName, hub: str | None, watch: Watch) -> Outcome:
    """Say how far a release is: OWNER/NAME for the newest, OWNER/NAME@REVISION for another.

    The exit code says what became of it: 0 ready, 1 rejected, withdrawn or held back, 7 not settled yet.
    """
    spoken = Hub(account(hub), tries=PATIENT)
    return watched(spoken, API + release.path, watch)
