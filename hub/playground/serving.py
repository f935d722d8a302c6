"""The serving process as the hub reaches it: one answer as a stream, and whether it answers at all."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import httpx2
from django.conf import settings
from django.core.cache import cache

from hub.errors import HubError, Invalid, NotFound, NotServed, TooBusy
from hub.playground.events import BrokeOff

log = logging.getLogger(__name__)
SECONDS_TO_CONNECT = 3.0
SECONDS_OF_SILENCE = 120.0  # behind others in the queue, and while a long prompt is read
SECONDS_TO_PROBE = 1.0
SECONDS_REMEMBERED = 10
REPORT, UNREACHED = "serving-report", "unreached"
KINDS: Mapping[int, type[HubError]] = {
    HTTPStatus.BAD_REQUEST: Invalid,
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: Invalid,
    HTTPStatus.TOO_MANY_REQUESTS: TooBusy,
}


@contextmanager
def answered(path: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> Iterator[Iterator[str]]:
    """The lines of an answer as they come. Raises NotServed, TooBusy, Invalid, NotFound before the first one,
    and BrokeOff afterwards.
    """
    timeout = httpx2.Timeout(SECONDS_OF_SILENCE, connect=SECONDS_TO_CONNECT)
    with httpx2.Client(trust_env=False, timeout=timeout) as client:
        request = client.build_request("POST", _address() + path, json=dict(body), headers=dict(headers))
        try:
            answer = client.send(request, stream=True)
        except httpx2.HTTPError as error:
            log.warning("%s does not answer: %s", _address(), error)
            raise NotServed(silence(error)) from error
        try:
            if answer.status_code != HTTPStatus.OK:
                raise _refusal(answer)
            yield _lines(answer)
        finally:
            answer.close()


def answers(library: str) -> bool:
    """Whether a serving process says that it serves this library."""
    said = libraries(report() or {})
    return any(one.get("library") == library and one.get("version") is not None for one in said)


def report() -> Mapping[str, Any] | None:
    """What the serving process says of itself, asked at most every few seconds: None where it cannot be
    reached, and empty where something else answers (a proxy may keep to itself what it says).
    """
    known: Mapping[str, Any] | str | None = cache.get(REPORT)
    if known is None:
        known = _asked()
        cache.set(REPORT, known, SECONDS_REMEMBERED)
    return None if isinstance(known, str) else known


def libraries(said: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The libraries in a report."""
    found = said.get("libraries")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def silence(error: Exception) -> str:
    """Why there is no answer, for a person: by which address the hub looks for one is not theirs to know."""
    if isinstance(error, httpx2.ReadTimeout):
        return f"The serving process said nothing for {SECONDS_OF_SILENCE:.0f} seconds."
    return "No serving process answers at the moment."


def _asked() -> Mapping[str, Any] | str:
    """The report, also where it says that not all is ready; UNREACHED where there is no answer."""
    try:
        answer = httpx2.get(f"{_address()}/readyz", timeout=SECONDS_TO_PROBE, trust_env=False)
    except httpx2.HTTPError:
        return UNREACHED
    try:
        said = answer.json()
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _lines(answer: httpx2.Response) -> Iterator[str]:
    try:
        yield from answer.iter_lines()
    except httpx2.ReadTimeout as error:
        raise BrokeOff(f"The answer broke off. {silence(error)}") from error
    except httpx2.HTTPError as error:
        raise BrokeOff from error


def _refusal(answer: httpx2.Response) -> HubError:
    """A refusal of the serving process, in its own words."""
    try:
        answer.read()
        said = answer.json()["error"]
        message, code = str(said["message"]), str(said["code"])
    except (httpx2.HTTPError, ValueError, KeyError, TypeError):
        log.warning("%s is no serving process: it answers with status %s", _address(), answer.status_code)
        return NotServed(f"What answers is no serving process: status {answer.status_code}.")
    if code == "queue_full":
        return TooBusy("As many questions wait as may wait. Try again in a few seconds.")
    return KINDS.get(answer.status_code, NotServed)(message)


def _address() -> str:
    address: str = settings.SERVING_INTERNAL_URL
    return address.rstrip("/")
