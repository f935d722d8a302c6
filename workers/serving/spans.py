"""Traces in OpenTelemetry's form: a span for each request, and in it one for each thing that it waited for.

A request is told of when it has ended, so its spans are made then, with the times that its entry has.
"""

from __future__ import annotations

import itertools

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from workers.serving.journal import Entry
from workers.serving.telemetry import Assembly

NAME = "fletch-serving"
OURS_TO_BLAME = 500  # and beyond: by the conventions a refusal is no failure of the server's span
NANO = 1_000_000_000
PHASES = ("prepare", "queued", "prefill", "decode")


class Spans:
    """Makes spans and hands them to an exporter, in a thread of its own."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._provider = TracerProvider(resource=_resource())
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer: Tracer = self._provider.get_tracer("workers.serving")

    def request(self, entry: Entry) -> None:
        """The span of a request, below the caller's own where it named one (W3C traceparent)."""
        if entry.looked_at or entry.ended is None:
            return
        span = self._tracer.start_span(
            entry.method if entry.route is None else f"{entry.method} {entry.route}",
            context=TraceContextTextMapPropagator().extract(entry.trace_headers),
            kind=SpanKind.SERVER,
            start_time=_time(entry, entry.began),
            attributes=_attributes(entry),
        )
        self._phases(span, entry)
        if (entry.status or OURS_TO_BLAME) >= OURS_TO_BLAME or entry.broke_off:
            span.set_status(Status(StatusCode.ERROR, entry.error))
        span.end(_time(entry, entry.ended))

    def assembled(self, assembly: Assembly) -> None:
        """The span of a new index version."""
        start = int(assembly.at * NANO)
        span = self._tracer.start_span("assemble version", start_time=start)
        span.set_attributes({"fletch.library": assembly.library, "fletch.version": assembly.version})
        if assembly.experts is not None:
            span.set_attribute("fletch.experts", assembly.experts)
        if assembly.error is not None:
            span.set_status(Status(StatusCode.ERROR, assembly.error))
        span.end(start + int(assembly.seconds * NANO))

    def end(self) -> None:
        """Send what is left; what the collector does not take within its time is lost."""
        self._provider.shutdown()

    def _phases(self, request: Span, entry: Entry) -> None:
        """One span behind the other, for as far as the request came."""
        if entry.submitted is None:
            return
        times = [entry.began, entry.submitted, entry.admitted, entry.first_token, entry.answered]
        told: dict[str, dict[str, int]] = {
            "prefill": {
                "gen_ai.usage.input_tokens": entry.prompt_tokens,
                "fletch.recalled_tokens": entry.recalled_tokens,
            },
            "decode": {"gen_ai.usage.output_tokens": entry.completion_tokens},
        }
        parent = set_span_in_context(request)
        for name, (start, end) in zip(PHASES, itertools.pairwise(times), strict=True):
            if start is None:
                break
            last = end if end is not None else entry.answered or entry.ended
            span = self._tracer.start_span(
                name, context=parent, start_time=_time(entry, start), attributes=told.get(name)
            )
            if name == "decode":
                _mark_ends(span, entry)
            span.end(_time(entry, last or start))


def exporter() -> SpanExporter:
    """To the collector that OpenTelemetry's variables name, with the headers and limits that they say."""
    return OTLPSpanExporter()


def _mark_ends(span: Span, entry: Entry) -> None:
    """An event where each answer ended; several choices share the span."""
    for ended in entry.ends:
        said: dict[str, str | int] = {
            "gen_ai.choice.index": ended.place,
            "gen_ai.response.finish_reason": ended.reason,
        }
        span.add_event("answer ended", said, _time(entry, ended.time))


def _attributes(entry: Entry) -> dict[str, str | int]:
    """By OpenTelemetry's conventions (http, gen_ai) where they have a name for it."""
    said = {
        "http.request.method": entry.method,
        "http.route": entry.route,
        "http.response.status_code": entry.status,
        "error.type": entry.error,
        "client.address": entry.address,  # a caller's name stays in the log: traces go elsewhere
        "gen_ai.usage.input_tokens": entry.prompt_tokens or None,
        "gen_ai.usage.output_tokens": entry.completion_tokens or None,
        "fletch.request_id": entry.id,
        "fletch.library": entry.library,
        "fletch.version": entry.version,
        "fletch.router": entry.router,
        "fletch.answers": entry.answers or None,
    }
    return {name: value for name, value in said.items() if value is not None}


def _resource() -> Resource:
    """What the operator's variables say of this process, and a name where they give none."""
    said = Resource.create()
    named = not str(said.attributes[SERVICE_NAME]).startswith("unknown_service")
    return said if named else said.merge(Resource({SERVICE_NAME: NAME}))


def _time(entry: Entry, moment: float) -> int:
    """The time of day of a moment, in nanoseconds since 1970."""
    return int((entry.at + moment - entry.began) * NANO)
