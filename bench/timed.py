"""The hub's web application, which says with each answer what it cost inside the process: headers for `bench.pages` alone."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from django.db import connection

from hub.wsgi import application as hub

PROCESSOR, WALL, QUERIES = "X-Bench-Processor", "X-Bench-Wall", "X-Bench-Queries"  # milliseconds; a number


def application(
    environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], object]
) -> Iterable[bytes]:
    """The processor's time is this thread's, in which Django answers; SQLite is inside it, PostgreSQL is not."""
    said: list[tuple[str, list[tuple[str, str]]]] = []
    asked: list[str] = []

    def start(status: str, headers: list[tuple[str, str]], _: object = None, /) -> Callable[[bytes], object]:
        said.append((status, headers))
        return lambda _: None

    def counting(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        asked.append(sql)
        return execute(sql, *rest)

    processor, wall = time.thread_time(), time.perf_counter()
    with connection.execute_wrapper(counting):
        answer = hub(environ, start)
        body = b"".join(answer)
        answer.close()
    cost = (
        (PROCESSOR, f"{1000 * (time.thread_time() - processor):.3f}"),
        (WALL, f"{1000 * (time.perf_counter() - wall):.3f}"),
        (QUERIES, str(len(asked))),
    )
    [(status, headers)] = said
    start_response(status, [*headers, *cost])
    return [body]
