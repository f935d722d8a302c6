"""Traces: spans of real requests and swaps, in an exporter that keeps them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from tests.routing.libraries import TEXT
from tests.routing.published import PublishedLibrary
from tests.serving.live import LiveServer, live_server
from workers.serving.journal import Entry
from workers.serving.options import Limits
from workers.serving.spans import Spans
from workers.serving.telemetry import NoTraces, traces

BODY = {"model": "tales", "prompt": TEXT, "max_tokens": 4, "temperature": 0}
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


@dataclass(frozen=True)
class Traced:
    live: LiveServer
    spans: Spans
    kept: InMemorySpanExporter

    def found(self, *names: str) -> list[ReadableSpan]:
        """The spans of these names, in their order, once all are there."""

        def by_name() -> dict[str, ReadableSpan]:
            self.spans._provider.force_flush()
            return {span.name: span for span in self.kept.get_finished_spans()}

        self.live.wait_until(lambda: by_name().keys() >= set(names))
        return [by_name()[name] for name in names]


@pytest.fixture
def traced(published: PublishedLibrary) -> Iterator[Traced]:
    published.publish(1)
    kept = InMemorySpanExporter()
    spans = Spans(kept)
    with live_server(published.url, traces=spans, limits=Limits(running=2, waiting=0)) as live:
        live.wait_for_version("tales", 1)
        yield Traced(live, spans, kept)


def test_a_request_is_a_span_with_one_for_each_thing_that_it_waited_for(traced: Traced) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    answer = httpx.post(
        f"{traced.live.url}/v1/completions", json=BODY | {"n": 2}, headers=headers, timeout=60
    )
    names = ("POST /v1/completions", "prepare", "queued", "prefill", "decode")
    request, *phases = traced.found(*names)
    usage = answer.json()["usage"]

    assert request.context.trace_id == int(TRACE, 16)
    assert request.parent is not None
    assert request.parent.span_id == int(PARENT, 16)
    assert request.kind is SpanKind.SERVER
    assert request.status.status_code is StatusCode.UNSET
    assert request.attributes is not None
    assert request.attributes["fletch.request_id"] == answer.headers["x-request-id"]
    assert request.attributes["fletch.library"] == "tales"
    assert request.attributes["http.response.status_code"] == 200
    assert {phase.parent.span_id for phase in phases if phase.parent} == {request.context.span_id}
    ends = [request.start_time, *(phase.end_time for phase in phases), request.end_time]
    times = [moment or 0 for moment in ends]
    assert times == sorted(times)
    assert [phase.start_time for phase in phases[1:]] == [phase.end_time for phase in phases[:-1]]
    _, _, prefill, decode = phases
    assert (prefill.attributes or {})["gen_ai.usage.input_tokens"] == usage["prompt_tokens"]
    assert (decode.attributes or {})["gen_ai.usage.output_tokens"] == usage["completion_tokens"]
    told = [dict(event.attributes or {}) for event in decode.events]
    assert {one["gen_ai.choice.index"] for one in told} == {0, 1}
    assert {one["gen_ai.response.finish_reason"] for one in told} == {"length"}


def test_no_word_of_what_was_said_is_in_a_span(traced: Traced) -> None:
    traced.live.post("/v1/completions", **BODY | {"prompt": "xylophone"}, user="xylophone")

    spans = traced.found("POST /v1/completions", "decode")

    assert "xylophone" not in "".join(span.to_json() for span in spans)


def test_a_refusal_ends_where_it_was_refused_and_is_no_failure(
    traced: Traced, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traced.live.server.runner.engine, "_may_wait", -2)
    traced.live.post("/v1/completions", **BODY)
    (request,) = traced.found("POST /v1/completions")

    assert (request.attributes or {})["error.type"] == "queue_full"
    assert request.status.status_code is StatusCode.UNSET
    assert {span.name for span in traced.kept.get_finished_spans()} <= {
        "POST /v1/completions",
        "assemble version",
        "prepare",
        "queued",
    }


def test_a_new_version_is_a_span_and_one_that_fails_says_why(
    traced: Traced, published: PublishedLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = traced.found("assemble version")
    traced.kept.clear()
    monkeypatch.setattr("workers.serving.library.assemble", lambda *_, **__: 1 / 0)
    published.publish(2)
    (second,) = traced.found("assemble version")

    assert dict(first.attributes or {}) == {
        "fletch.library": "tales",
        "fletch.version": 1,
        "fletch.experts": len(published.entries),
    }
    assert second.status.status_code is StatusCode.ERROR
    assert "ZeroDivisionError" in str(second.status.description)


def test_looks_of_machines_and_paths_that_are_not_there(traced: Traced) -> None:
    traced.live.get("/healthz")
    traced.live.get("/v1/nothing/here")
    traced.found("GET")

    assert {span.name for span in traced.kept.get_finished_spans()} == {"GET", "assemble version"}


def test_who_leaves_while_waiting_was_only_queued() -> None:
    kept = InMemorySpanExporter()
    spans = Spans(kept)
    entry = Entry("a-name", "POST", "/v1/completions", route="/v1/completions")
    entry.submitted, entry.answered, entry.ended = entry.began + 1, entry.began + 3, entry.began + 3
    entry.error, entry.status = "client_closed_request", 499

    spans.request(entry)
    spans.end()

    assert [span.name for span in kept.get_finished_spans()] == ["prepare", "queued", "POST /v1/completions"]
    queued = kept.get_finished_spans()[1]
    assert (queued.end_time or 0) - (queued.start_time or 0) == pytest.approx(2e9, abs=1e4)


def test_a_span_has_the_address_of_a_caller_and_never_the_name_that_a_pass_gives_them() -> None:
    kept = InMemorySpanExporter()
    spans = Spans(kept)
    entry = Entry("a-name", "POST", "/v1/completions", address="192.0.2.7", caller="ada")
    entry.ended = entry.began

    spans.request(entry)
    spans.end()

    (span,) = kept.get_finished_spans()
    assert (span.attributes or {})["client.address"] == "192.0.2.7"
    assert '"ada"' not in span.to_json()


@pytest.mark.parametrize("environment", [{}, ENDPOINT | {"OTEL_SDK_DISABLED": "true"}])
def test_nothing_is_traced_unless_somebody_wants_it(environment: dict[str, str]) -> None:
    assert isinstance(traces(environment), NoTraces)


def test_another_protocol_is_named(caplog: pytest.LogCaptureFixture) -> None:
    assert isinstance(traces(ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}), NoTraces)

    assert "found the protocol grpc for them, expected http/protobuf" in caplog.text


def test_where_the_packages_are_missing_the_log_says_what_to_install(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "workers.serving.spans", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)

    assert isinstance(traces(ENDPOINT), NoTraces)
    assert "install requirements/telemetry.txt" in caplog.text


def test_with_an_endpoint_they_are_sent_there(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    found = traces(ENDPOINT)
    found.end()

    assert isinstance(found, Spans)
    assert "traces are sent to http://127.0.0.1:4318" in caplog.text
