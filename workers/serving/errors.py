"""Errors as OpenAI's clients know them; the only place where the serving process's errors become HTTP."""

from __future__ import annotations

import logging
from typing import Any

from pydantic import ValidationError
from starlette.responses import JSONResponse, Response

from routing.engine import EngineEnded, EngineFull
from routing.guidance import GuideLost
from workers.serving.journal import GONE, current

UNION_MEMBERS = ("str", "int", "list", "nullable")
SAID_PROBLEMS = 20  # of a body; whoever sent more reads no more
HEADERS = {
    401: {"WWW-Authenticate": 'Bearer realm="fletch"'},  # Unauthorized: how to come in (RFC 9110, 15.5.2)
    408: {"Connection": "close"},  # Request Timeout: nobody waits for the rest (RFC 9110, 15.5.9)
}
log = logging.getLogger(__name__)


class ApiError(Exception):
    """A request that is answered with an error: its HTTP status, a sentence, and what to blame."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.retry_after = retry_after

    def body(self) -> dict[str, Any]:
        """The error object of OpenAI's API, and which request it is about: to be found again in the log."""
        entry = current()
        return {
            "error": {
                "message": self.message,
                "type": _kind(self.status),
                "param": self.param,
                "code": self.code,
                **({} if entry is None else {"request_id": entry.id}),
            }
        }

    def response(self) -> Response:
        """The error as an HTTP response."""
        later = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        headers = {**later, **HEADERS.get(self.status, {})}
        return JSONResponse(self.body(), status_code=self.status, headers=headers)


def invalid(param: str, message: str, *, code: str = "invalid_value") -> ApiError:
    """A field of the request that cannot be."""
    return ApiError(400, f"{param}: {message}", code=code, param=param)


def not_found(model: str, message: str) -> ApiError:
    """A model that this process does not serve."""
    return ApiError(404, f"model {model!r}: {message}", code="model_not_found", param="model")


def gone_away() -> ApiError:
    """Nobody reads this; the status is the one that nginx counts it by."""
    return ApiError(499, "the client has gone away", code=GONE)


def refusal(error: Exception, what: str) -> ApiError:
    """What the client is told where an error ended `what`, whole answers and streams alike.

    Of an error that nobody foresaw the log alone has the text, which may say what is nobody else's business.
    """
    if isinstance(error, ApiError):
        return error
    if isinstance(error, EngineFull):
        return ApiError(429, f"{error}; try again", code="queue_full", retry_after=1)
    if isinstance(error, EngineEnded):
        return ApiError(503, f"nobody is answered here any more: {error}", code="engine_ended")
    if isinstance(error, GuideLost):
        return ApiError(500, f"the answer broke off: {error}", code="guide_lost")
    log.error("%s failed", what, exc_info=error)
    return ApiError(500, "the server failed to answer; its log says why", code="internal")


def let_go(error: BaseException) -> None:
    """Forget where an error that was told, and those that it came from, were raised.

    A call that has the error in a variable, too, is kept by it, and so is all that the request held, such as
    the memory of its experts, until somebody looks for garbage.
    """
    told: list[BaseException | None] = [error]
    while told:
        if (one := told.pop()) is not None and one.__traceback__ is not None:
            one.__traceback__ = None
            told += [one.__cause__, one.__context__]


def from_validation(error: ValidationError) -> ApiError:
    """What is wrong with a body in one message; `param` is the first field."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)[:SAID_PROBLEMS]
    fields = [_field(problem["loc"]) for problem in problems]
    message = "; ".join(
        f"{field}: {problem['msg']}" if field else problem["msg"]
        for field, problem in zip(fields, problems, strict=True)
    )
    return ApiError(400, message, code=_code(problems[0]["type"]), param=fields[0] or None)


def _field(location: tuple[int | str, ...]) -> str:
    """The dotted name of a field, without the names of union members that pydantic adds behind it."""
    parts = [str(part) for part in location]
    plain = [part for part in parts if part.isidentifier() and part not in UNION_MEMBERS]
    # of a member that a tag chose the tag stands before its fields: response_format.json_schema.json_schema
    return ".".join(part for part, after in zip(plain, [*plain[1:], ""], strict=False) if part != after)


def _code(kind: str) -> str:
    codes = {
        "extra_forbidden": "unknown_parameter",
        "missing": "missing_required_parameter",
        "json_invalid": "invalid_json",
    }
    return codes.get(kind, "invalid_type" if kind.endswith(("_type", "_parsing")) else "invalid_value")


def _kind(status: int) -> str:
    if status == 429:  # noqa: PLR2004 - Too Many Requests
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"  # noqa: PLR2004 - the server's own
