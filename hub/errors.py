"""What the hub refuses to do. An error says what is wrong and knows nothing of HTTP (hub/http.py
translates).
"""

from collections.abc import Sequence
from typing import TypedDict


class FindingJson(TypedDict):
    """One violation of one check, said so that it can be fixed."""

    check: str
    severity: str
    file: str
    field: str
    found: str
    expected: str
    fix: str


class HubError(Exception):
    """Something that was asked cannot be done. The docstring is the sentence when no other is given."""

    code = "error"

    def __init__(self, detail: str = "", findings: Sequence[FindingJson] = ()) -> None:
        super().__init__(detail or (self.__doc__ or "").strip())
        self.findings = list(findings)


class NotFound(HubError):
    """There is no such thing here, or it is not yours to see."""

    code = "not_found"


class NoSuchAdapter(NotFound):
    """There is no such adapter here, or it is not yours to see."""


class NoSuchRevision(NotFound):
    """The adapter has no such commit, branch or tag."""


class NoSuchFile(NotFound):
    """There is no such file at this revision."""


class NotAllowed(HubError):
    """You may not do this."""

    code = "not_allowed"


class NotSignedIn(HubError):
    """This needs a valid API token: `Authorization: Bearer hf_...`."""

    code = "not_signed_in"


class Gated(NotAllowed):
    """The owner of this adapter decides who downloads it. Ask on its page."""

    code = "gated"


class Disabled(HubError):
    """Access to this resource is disabled."""

    code = "disabled"


class Invalid(HubError):
    """What was sent cannot be understood."""

    code = "invalid"


class Conflict(HubError):
    """This contradicts what is already there."""

    code = "conflict"


class Stale(Conflict):
    """What this was based on has changed meanwhile."""


class TooLarge(HubError):
    """The upload is larger than this hub accepts."""

    code = "too_large"


class OverQuota(TooLarge):
    """This is more than one person may keep on this hub."""

    code = "over_quota"


class StorageFull(HubError):
    """The hub is nearly out of disk space and takes no uploads at the moment; downloads go on."""

    code = "storage_full"


class NotOffered(HubError):
    """This hub does not offer that."""

    code = "not_offered"


class NotServed(HubError):
    """No serving process answers."""

    code = "not_served"


class TooBusy(HubError):
    """So much of this is asked at the moment that it has to wait. Try again in a few seconds."""

    code = "too_busy"
    seconds = 5  # to wait


class OtherHub(HubError):
    """The hub that this one reads from does not answer as it should; it may later."""

    code = "other_hub"


class BadArchive(HubError):
    """The archive or a name in it cannot be accepted; the findings say what and where."""

    code = "bad_archive"


class Fenced(HubError):
    """The claim on this job is lost: another worker holds it now, so nothing of this one is recorded."""

    code = "fenced"
