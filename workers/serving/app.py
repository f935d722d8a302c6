"""The HTTP application: OpenAI's endpoints, health and metrics."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import closing
from functools import partial
from typing import TypeVar

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route as Path

from routing.engine import Engine, EngineEnded
from routing.generation import Generation
from routing.store import open_store
from workers.serving import names
from workers.serving.answers import Job, answer_stream, answer_whole
from workers.serving.bodies import AddressedBody, AnyBody, ChatBody, CompletionBody, EmbeddingBody
from workers.serving.book import Book
from workers.serving.budgets import Budgets, require_answers
from workers.serving.callers import Caller, Door, OpenDoor, PassDoor
from workers.serving.chat_shape import ChatShape
from workers.serving.completion_shape import CompletionShape
from workers.serving.counting import Counting
from workers.serving.embeddings import Embedder, Order, embedding_document, embedding_prompts
from workers.serving.errors import ApiError, from_validation, let_go, not_found, refusal
from workers.serving.guests import HEADER
from workers.serving.guides import Guides
from workers.serving.health import readiness
from workers.serving.heap import Collector
from workers.serving.journal import Entry, Journal
from workers.serving.leaving import EventStream, held_by_nobody, unless_gone
from workers.serving.libraries import Libraries
from workers.serving.logs import say
from workers.serving.metrics import NOWHERE, Metrics
from workers.serving.models import Catalogue, find
from workers.serving.options import Limits, Options
from workers.serving.preparing import Place, Preparing
from workers.serving.prompts import answers_of, chat_generations, completion_generations
from workers.serving.reporting import Reporter
from workers.serving.runner import Runner
from workers.serving.scrape import look_up
from workers.serving.shapes import Envelope, Shape
from workers.serving.stalls import read_body
from workers.serving.targets import Target, resolve
from workers.serving.telemetry import NoTraces, Traces
from workers.serving.tools import reader_of
from workers.serving.voices import voices_of

UNKNOWN = (
    "not served here; expected POST /v1/chat/completions, /v1/completions or /v1/embeddings, GET /v1/models"
)
STOPPING = "this process is being stopped"
DEAD = "the thread that runs the model has ended; start the process again"
Body = TypeVar("Body", bound=AddressedBody)
Answered = TypeVar("Answered", CompletionBody, ChatBody)
Prepare = Callable[[Answered, Target, Limits, Guides], list[Generation]]
Endpoint = Callable[[Request], Awaitable[Response]]


class Server:
    """The parts of a serving process, and its endpoints."""

    def __init__(self, options: Options, traces: Traces) -> None:
        limits = options.limits
        self.options = options
        book = None if options.report_to is None else Book()
        self.metrics = Metrics(named_experts=limits.named_experts, book=book)
        self.reporter = (
            None if options.report_to is None or book is None else Reporter(options.report_to, book)
        )
        store = open_store(options.store, cache=options.cache, cache_bytes=options.cache_bytes)
        if store.cache is not None:
            self.metrics.of_cache(store.cache)
        engine = Engine(
            running=limits.running,
            waiting=limits.waiting,
            memory=limits.memory_bytes,
            told=self.metrics.passed,
            parted=self.metrics.parted,
        )
        self.libraries = Libraries(store, options, self.metrics, traces.assembled, engine)
        self.runner = Runner(engine, Collector() if options.alone else None)
        self.traces = traces
        self.leaving = False
        self.guides = Guides()
        self.door: Door = (
            PassDoor(lambda: self.libraries.hub_keys) if options.callers == "passes" else OpenDoor()
        )
        self.budgets = Budgets()
        self.started = int(time.time())
        self.catalogue = Catalogue(self.started)
        self.preparing = Preparing(engine, limits, self.metrics)
        self.embedder = Embedder(self.runner, self.preparing, self.metrics, limits)

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        """The model's thread and the watcher live as long as the application."""
        self.runner.start()
        self.libraries.start()
        if self.reporter is not None:
            self.reporter.start()
        try:
            yield
        finally:
            await run_in_threadpool(self.libraries.stop)
            await run_in_threadpool(self.runner.stop)
            if self.reporter is not None:
                await run_in_threadpool(self.reporter.stop)
            await run_in_threadpool(self.traces.end)
            self.preparing.end()

    def leave(self) -> None:
        """Take no more requests, and say so: what is under way goes on."""
        self.leaving = True

    def cut(self) -> None:
        """Tell all who wait for an answer that they get no more of it."""
        error = EngineEnded(STOPPING)
        self.preparing.cut(error)
        self.runner.engine.end(error)

    def admitting(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint for those alone whom the door lets in."""

        async def admitted(request: Request) -> Response:
            entry: Entry = request.state.entry
            caller = self.door.caller(request.headers, entry.caller or "")
            entry.caller, request.state.caller = caller.name, caller
            return await endpoint(request)

        return admitted

    async def completions(self, request: Request) -> Response:
        body = await self._body(request, CompletionBody)
        target, generations = await self._prepared(request, body, completion_generations)
        return await self._answer(request, body, target, generations, shape=CompletionShape())

    async def chat(self, request: Request) -> Response:
        body = await self._body(request, ChatBody)
        target, generations = await self._prepared(request, body, chat_generations)
        return await self._answer(
            request, body, target, generations, shape=ChatShape(lambda: reader_of(body))
        )

    async def embeddings(self, request: Request) -> Response:
        body = await self._body(request, EmbeddingBody)
        order = await self._order(request, body)
        done = await unless_gone(request, self.embedder.embed(order))
        pieces = held_by_nobody(embedding_document(order, done))
        return StreamingResponse(pieces, media_type="application/json")

    async def models(self, request: Request) -> Response:
        admitted = partial(self.door.admits, request.state.caller)
        listed = partial(self.catalogue.document, self.libraries, admitted=admitted)
        return Response(await run_in_threadpool(listed), media_type="application/json")

    async def model(self, request: Request) -> Response:
        name = request.path_params["name"]
        self._require_admitted(request.state.caller, name)
        found = await run_in_threadpool(find, self.libraries, name, self.started)
        if found is None:
            raise not_found(name, "not served here")
        return JSONResponse(found)

    async def healthz(self, _request: Request) -> Response:
        """The process lives if the thread that runs the model does."""
        alive = self.runner.alive
        return JSONResponse({"status": "ok" if alive else "the model's thread died"}, 200 if alive else 500)

    async def readyz(self, _request: Request) -> Response:
        closed = STOPPING if self.leaving else None if self.runner.alive else DEAD
        ready, report = readiness(self.libraries, closed=closed)
        return JSONResponse(report, 200 if ready else 503)

    async def counts(self, _request: Request) -> Response:
        look_up(self.metrics, self.runner.engine, self.preparing, self.libraries)
        return Response(generate_latest(self.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    def _place(self, request: Request, body: AddressedBody, answers: int) -> Place:
        """Places for answers, of which nothing is worked out yet; whatever forbids them is said now."""
        if self.leaving:
            raise ApiError(503, f"{STOPPING}; ask again", code="stopping", retry_after=1)
        caller: Caller = request.state.caller
        self._require_admitted(caller, body.model)
        self.budgets.require_tokens(caller)
        who = caller.identity(body.user)
        require_answers(caller, self.preparing.held(who), answers)
        return self.preparing.place(who, answers)

    async def _target(self, request: Request, body: AddressedBody, place: Place) -> Target:
        guest_list = request.headers.get(HEADER)
        found = partial(
            resolve,
            self.libraries,
            body.model,
            body.routing,
            guest_list=guest_list,
            limits=self.options.limits,
            asker=place.asker,
        )
        target = await self.preparing.run(place, found)
        entry: Entry = request.state.entry
        entry.library, entry.version, entry.router = target.said
        return target

    def _require_admitted(self, caller: Caller, model: str) -> None:
        """ApiError if the model is of a library that is served, but not to this caller."""
        address = names.parse(model)
        if address is not None and address.library in self.libraries.served:
            self.door.require(caller, address.library)

    async def _prepared(
        self, request: Request, body: Answered, prepare: Prepare[Answered]
    ) -> tuple[Target, list[Generation]]:
        """Who answers, and the works: to be submitted at once, for their places are free again."""
        limits = self.options.limits

        async def made(place: Place) -> tuple[Target, list[Generation]]:
            target = await self._target(request, body, place)
            make = partial(prepare, body, target, self.libraries.memory.limits, self.guides)
            return target, await self.preparing.made(place, target, make)

        with self._place(request, body, answers_of(body, limits)) as place:
            return await unless_gone(request, place.kept(made(place)))

    async def _order(self, request: Request, body: EmbeddingBody) -> Order:
        """What is to be embedded; the texts take places of their own, a lot after the other."""
        caller: Caller = request.state.caller
        who, charge = caller.identity(body.user), partial(self.budgets.charge, caller)

        async def made(place: Place) -> Order:
            target = await self._target(request, body, place)
            read = partial(embedding_prompts, body, target, self.libraries.memory.limits)
            prompts = await self.preparing.run(place, read)
            return Order(body, target, prompts, caller, who, request.state.entry, charge)

        with self._place(request, body, 1) as place:
            return await unless_gone(request, place.kept(made(place)))

    async def _body(self, request: Request, kind: type[Body]) -> Body:
        """The parsed body."""
        content = await read_body(request, self.options.limits)
        try:
            return kind.model_validate_json(content)
        except ValidationError as error:
            raise from_validation(error) from error

    async def _answer(
        self,
        request: Request,
        body: AnyBody,
        target: Target,
        generations: Sequence[Generation],
        *,
        shape: Shape,
    ) -> Response:
        envelope = Envelope(f"{shape.prefix}-{uuid.uuid4().hex}", int(time.time()), body.model, target)
        entry: Entry = request.state.entry
        caller: Caller = request.state.caller
        entry.answers, entry.streamed, entry.submitted = len(generations), bool(body.stream), time.monotonic()
        charge = partial(self.budgets.charge, caller)
        counting = Counting(target, generations, body.n or 1, self.metrics, entry, charge)
        job = Job(envelope, shape, counting, partial(voices_of, target, body.routing.trace))
        steps = self.runner.submit(generations, caller=caller.identity(body.user), told=counting.charge_new)
        if not body.stream:
            with closing(steps):
                return await answer_whole(job, steps, request)
        usage = body.stream_options is not None and body.stream_options.include_usage
        return EventStream(answer_stream(job, steps, include_usage=usage), closes=steps)


def create_app(options: Options, traces: Traces | None = None) -> Starlette:
    """The application for these options; nothing runs before its lifespan begins."""
    server = Server(options, traces or NoTraces())

    def path(pattern: str, endpoint: Endpoint, method: str = "GET") -> Path:
        return Path(pattern, _counted(pattern, endpoint, server.metrics), methods=[method])

    def asking(pattern: str, endpoint: Endpoint, method: str = "GET") -> Path:
        return path(pattern, server.admitting(endpoint), method)

    app = Starlette(
        lifespan=server.lifespan,
        middleware=[Middleware(Journal, told=[say, server.traces.request, server.metrics.ended])],
        exception_handlers={HTTPException: _http_error},
        routes=[
            asking("/v1/completions", server.completions, "POST"),
            asking("/v1/chat/completions", server.chat, "POST"),
            asking("/v1/embeddings", server.embeddings, "POST"),
            asking("/v1/models", server.models),
            asking("/v1/models/{name:path}", server.model),
            path("/healthz", server.healthz),
            path("/readyz", server.readyz),
            path("/metrics", server.counts),
        ],
    )
    app.state.server = server
    return app


def _counted(pattern: str, endpoint: Endpoint, metrics: Metrics) -> Endpoint:
    """The endpoint with its errors in OpenAI's shape and its answers counted."""

    async def answered(request: Request) -> Response:
        request.state.entry.route = pattern
        try:
            response = await endpoint(request)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told in OpenAI's shape
            told = refusal(error, pattern)
            request.state.entry.error = told.code
            response = told.response()
            let_go(error)
        metrics.requests.labels(pattern, response.status_code).inc()
        return response

    return answered


async def _http_error(request: Request, error: Exception) -> Response:
    """Paths and methods that do not exist."""
    assert isinstance(error, HTTPException)
    told = ApiError(error.status_code, f"{request.method} {request.url.path}: {UNKNOWN}", code="unknown_url")
    request.state.entry.error = told.code
    server: Server = request.app.state.server
    server.metrics.requests.labels(NOWHERE, told.status).inc()
    return told.response()
