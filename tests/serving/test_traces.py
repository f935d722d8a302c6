"""A full trace is worked out and written down beside the event loop, in steps, and is of a bounded size."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.routing.libraries import TEXT
from tests.routing.published import PublishedLibrary
from tests.serving.live import LiveServer, live_server
from workers.serving import answers
from workers.serving.options import Limits

BODY = {"model": "tales", "prompt": TEXT, "max_tokens": 4, "temperature": 0}


def on_the_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@pytest.fixture
def worked_out(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """What was worked out of an answer, and whether the event loop waited for it."""
    seen: list[tuple[str, bool]] = []

    def told(name: str) -> None:
        real: Callable[..., Any] = getattr(answers, name)

        def found(*given: Any) -> Any:
            seen.append((name, on_the_loop()))
            return real(*given)

        monkeypatch.setattr(answers, name, found)

    told("provenance")
    told("_in_steps")
    return seen


def asked(live: LiveServer, *, stream: bool, **routing: object) -> Any:
    answer = live.post("/v1/completions", **BODY, stream=stream, routing=routing)
    assert answer.status_code == 200, answer.text
    if not stream:
        return answer.json()
    events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: {")]
    return json.loads(events[-1])


@pytest.mark.parametrize("stream", [False, True])
def test_a_full_trace_keeps_nobody_waiting(
    live: LiveServer,
    worked_out: list[tuple[str, bool]],
    stream: bool,  # noqa: FBT001 - as pytest hands it on
) -> None:
    plain = asked(live, stream=stream)
    brief = [*worked_out]
    worked_out.clear()

    traced = asked(live, stream=stream, trace=True)

    assert brief == [("provenance", True)]
    assert worked_out == [("provenance", False), ("_in_steps", False)]
    assert traced["fletch"].pop("trace")["modules"]
    assert traced["fletch"] == plain["fletch"]


def test_weights_in_a_trace_have_four_digits(live: LiveServer) -> None:
    modules = asked(live, stream=False, trace=True)["fletch"]["trace"]["modules"]

    weights = [weight for module in modules.values() for row in module["weights"] for weight in row]
    assert weights == [round(weight, 4) for weight in weights]
    assert any(0 < weight < 1 for weight in weights)


def test_brief_traces_have_a_bound_of_their_own(published: PublishedLibrary) -> None:
    published.publish(1)
    modules = len(published.spec.target_modules)
    with live_server(published.url, limits=Limits(trace_entries=1, brief_entries=4 * modules)) as live:
        live.wait_for_version("tales", 1)

        whole, brief, longer = (
            live.post("/v1/completions", **BODY | more)
            for more in (
                {"routing": {"trace": True}},
                {"routing": {"trace": "modules"}},
                {"routing": {"trace": "modules"}, "max_tokens": 5},
            )
        )

    assert [answer.status_code for answer in (whole, brief, longer)] == [400, 200, 400]
    for refused, most in ((whole, 1), (longer, 4 * modules)):
        error = refused.json()["error"]
        assert error["param"] == "routing.trace"
        assert f"expected at most {most}: ask for fewer tokens" in error["message"]
