"""A running hub whose library already holds many synthetic experts."""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from django.conf import settings
from django.core.management import call_command
from django.db import connections, transaction
from django.db.models.functions import Now
from rich.progress import track

from demo.show.contributing import send
from demo.show.hub_api import HubApi
from demo.show.people import MAINTAINER, people
from demo.show.serving_api import Serving
from demo.tasks import BASE, TASKS
from hub.accounts.models import User
from hub.adapters.models import Adapter, Commit, Release
from hub.jobs import services as jobs
from hub.jobs.models import JobKind
from hub.library.models import Library
from hub.operations import parts
from hub.operations.running import running_hub
from routing.factors import Factors, fingerprint
from routing.prototypes import RoutingVector
from routing.spec import BaseSpec
from routing.store import IndexStore, StoredExpert, open_store

LIBRARY, RANK = "bench", 4


@contextmanager
def running(count: int) -> Iterator[tuple[Library, HubApi, Serving]]:
    """Web, worker and serving on free ports over a library of `count` synthetic experts."""
    web, serving = parts.next_free_port("127.0.0.1", 18_000), parts.next_free_port("127.0.0.1", 18_100)
    layout = parts.Layout(
        host="127.0.0.1",
        web_port=web,
        serving_port=serving,
        store_url=settings.STORE_URL,
        run_directory=settings.DATA / "run",
        worker_processes=parts.processes_for_this_machine(),
    )
    with running_hub(layout, say=lambda _part, _line: None) as supervisor:
        supervisor.wait_until_ready(120)
        names = [MAINTAINER, *sorted({task.owner for task in TASKS})]
        persons = people(names, remembered=settings.DATA / "people.json")
        call_command("create_library", LIBRARY, str(BASE), maintainer=MAINTAINER, wait=True, verbosity=0)
        library = Library.objects.get(slug=LIBRARY)
        fill(library, User.objects.get(username=MAINTAINER), count)
        connections.close_all()
        hub = HubApi(f"http://127.0.0.1:{web}", persons[MAINTAINER].token)
        yield library, hub, Serving(f"http://127.0.0.1:{serving}", LIBRARY)


def fill(library: Library, owner: User, count: int) -> None:
    """Write the experts into the store and their rows into the database, then ask for one index version."""
    store = open_store(settings.STORE_URL)
    spec = store.read_base(library.base_digest)
    experts = [
        put_expert(store, spec, n)
        for n in track(range(count), f"{count:,} synthetic experts", transient=True)
    ]
    with transaction.atomic():
        adapters = Adapter.objects.bulk_create(
            Adapter(owner=owner, name=f"expert{n:05d}", name_key=f"expert{n:05d}", library=library)
            for n in range(count)
        )
        commits = Commit.objects.bulk_create(
            Commit(
                adapter=a,
                oid=hashlib.sha1(a.name.encode()).hexdigest(),
                tree_oid="0" * 40,
                author=owner,
                message="",
                created_at=Now(),
            )
            for a in adapters
        )
        Release.objects.bulk_create(
            Release(commit=commit, adapter=commit.adapter, number=1, status="ready", settled_at=Now(), fingerprint=print_,
                    vectors_digest=e.vectors, vectors_size=e.vectors_size, factors_digest=e.factors, factors_size=e.factors_size)
            for commit, (e, print_) in zip(commits, experts, strict=True)
        )  # fmt: skip
        jobs.enqueue(JobKind.INDEX, library_id=library.pk)


def put_expert(store: IndexStore, spec: BaseSpec, number: int) -> tuple[StoredExpert, bytes]:
    """A small random expert at every query projection."""
    seed, sigma = torch.Generator().manual_seed(number), torch.linspace(0.1, 0.05, RANK)
    factors, vectors = {}, {}
    for module in (m for m in spec.target_modules if m.name.endswith("q_proj")):
        a = torch.linalg.qr(torch.randn(module.d_in, RANK, generator=seed)).Q.T.contiguous()
        b = torch.linalg.qr(torch.randn(module.d_out, RANK, generator=seed)).Q * sigma
        factors[module.name] = Factors(a, b, sigma.clone())
        vectors[module.name] = RoutingVector(a[0].clone(), sigma.clone())
    return store.put_expert(vectors, factors), np.asarray(fingerprint(factors), dtype=np.float32).tobytes()


def await_served(library: Library, serving: Serving, *, experts: int, within: float) -> None:
    """Return when a version with so many experts answers."""
    last_moment = time.monotonic() + within
    while time.monotonic() < last_moment:
        library.refresh_from_db()
        if (
            library.current
            and library.current.expert_count >= experts
            and serving.serves(library.current.number)
        ):
            return
        time.sleep(0.2)
    raise TimeoutError(f"no version with {experts} experts is served after {within:.0f} s")


def upload_until_served(number: int, hub: HubApi, serving: Serving, *, within: float) -> float:
    """Seconds from the hub's 202 to the first answer of a newer version."""
    task = TASKS[number]
    row = task.test_rows[0]
    before = serving.ask(row.prompt).version
    send(task, hub, library=LIBRARY)
    began = time.monotonic()
    while serving.ask(row.prompt).version == before:
        if time.monotonic() - began > within:
            raise TimeoutError(f"{task.name} is not served after {within:.0f} s")
        time.sleep(0.05)
    return time.monotonic() - began
