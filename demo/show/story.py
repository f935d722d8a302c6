"""What the demonstration shows, in order."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Event

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from rich.console import Console
from rich.table import Table

from demo.show import contributing, scores, taking_home
from demo.show.hub_api import HubApi
from demo.show.late_arrival import Crowd, arrive
from demo.show.people import MAINTAINER, Person, people
from demo.show.refusal import refuse
from demo.show.serving_api import Serving
from demo.tasks import BASE, TASKS, Task
from hub.errors import Conflict
from hub.library.models import Library
from hub.operations import parts
from hub.operations.management.commands.up import stop_on_signals
from hub.operations.processes import Say
from hub.operations.running import running_hub

LIBRARY = "quill"
STARTS_WITHIN = 120.0
EQUAL = 1e-4
# These tasks are facts: a second opinion spoils them, so one expert answers a prompt.
SHORTLIST = 1
RESTARTED = "starting it again"


@dataclass(frozen=True)
class Running:
    """The hub when all is told: where it is, who has an account there, and what is set when it is to stop."""

    layout: parts.Layout
    persons: Mapping[str, Person]
    leave: Event


def tell(
    console: Console, *, web_port: int, serving_port: int, then: Callable[[Running], None], began: float
) -> None:
    """The whole story, then whatever is wanted of the running hub. Raises CommandError when a port is taken."""
    layout = parts.Layout(
        host="127.0.0.1",
        web_port=web_port,
        serving_port=serving_port,
        store_url=settings.STORE_URL,
        run_directory=settings.DATA / "run",
        worker_processes=parts.processes_for_this_machine(),
    )
    say = _notices(console)
    try:
        console.rule("[b]1. A hub: web, worker and serving under one supervisor", align="left")
        with running_hub(layout, say=say) as supervisor:
            leave = stop_on_signals(supervisor)
            supervisor.wait_until_ready(STARTS_WITHIN, unless=leave)
            if leave.is_set():
                return
            console.print(
                f"Web at http://127.0.0.1:{web_port}, models at http://127.0.0.1:{serving_port}/v1, logs in {settings.LOGS}"
            )
            persons = _show(console, layout)
            minutes, seconds = divmod(int(time.monotonic() - began), 60)
            console.rule(f"[b]Done after {minutes} min {seconds:02d} s", align="left")
            then(Running(layout, persons, leave))
    except Conflict as conflict:
        raise CommandError(str(conflict)) from conflict


def _show(console: Console, layout: parts.Layout) -> Mapping[str, Person]:
    address, serving = (
        f"http://127.0.0.1:{layout.web_port}",
        Serving(f"http://127.0.0.1:{layout.serving_port}", LIBRARY),
    )
    early, late = [task for task in TASKS if not task.late], [task for task in TASKS if task.late]
    persons = people(
        [MAINTAINER, *sorted({task.owner for task in TASKS})],
        remembered=settings.DATA / "demo" / "people.json",
    )
    hubs = {name: HubApi(address, person.token) for name, person in persons.items()}

    console.rule("[b]2. A library: one frozen base model, which everybody trains adapters for", align="left")
    _make_library(console)
    console.rule(
        f"[b]3. {len(early)} adapters of {len({task.owner for task in early})} people, through the public API",
        align="left",
    )
    contributing.contribute(early, hubs, library=LIBRARY, console=console)
    refuse(hubs[early[0].owner], library=LIBRARY, console=console)
    version = _await_version(hubs[MAINTAINER], serving, experts=len(early))
    console.print(f"Index version [b]{version}[/b] is promoted and served.")
    console.rule("[b]4. One question of each kind", align="left")
    _ask(console, early, serving)
    console.rule("[b]5. One more adapter, while the server is answering", align="left")
    for task in late:
        _add_late(console, task, early[0], hubs, serving)
    console.rule("[b]6. The composed model, taken home", align="left")
    _take_home(console, hubs[MAINTAINER], serving)
    console.rule("[b]7. What it is worth", align="left")
    _score(console, [*early, *late], hubs[MAINTAINER], serving)
    return persons


def _make_library(console: Console) -> None:
    if not Library.objects.filter(slug=LIBRARY).exists():
        call_command(
            "create_library",
            LIBRARY,
            str(BASE),
            name="Quill",
            maintainer=MAINTAINER,
            shortlist=SHORTLIST,
            wait=True,
            verbosity=0,
        )
    library = Library.objects.get(slug=LIBRARY)
    modules = library.base_spec["target_modules"] if library.base_spec else ()
    console.print(
        f"Library [b]{LIBRARY}[/b] on {BASE.relative_to(BASE.parent.parent)}: {len(modules)} target modules, base digest {library.base_digest[:16]}"
    )


def _await_version(hub: HubApi, serving: Serving, *, experts: int) -> int:
    """Wait until a version with at least so many experts is served; raises Stuck."""
    last_moment = time.monotonic() + contributing.PATIENCE
    while time.monotonic() < last_moment:
        current = hub.served_version(LIBRARY)
        if current and current["expert_count"] >= experts and serving.serves(current["number"]):
            return int(current["number"])
        time.sleep(contributing.LOOK_EVERY)
    raise contributing.Stuck(f"no version with {experts} experts is served")


def _ask(console: Console, tasks: Sequence[Task], serving: Serving) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("question", "base alone", "composed", "right", "who spoke"):
        table.add_column(heading, overflow="fold")
    for task in tasks:
        row = task.test_rows[0]
        base, composed = serving.ask(row.prompt, model=f"{LIBRARY}/base"), serving.ask(row.prompt)
        right = (
            "[green]yes[/green]"
            if composed.text == row.completion.strip()
            else f"[red]no[/red] ({row.completion.strip()})"
        )
        table.add_row(
            row.prompt.removeprefix("Q: ").removesuffix("\nA:"),
            base.text,
            f"[b]{composed.text}[/b]",
            right,
            composed.speakers,
        )
    console.print(table)


def _add_late(
    console: Console, task: Task, asked: Task, hubs: Mapping[str, HubApi], serving: Serving
) -> None:
    row = task.test_rows[0]
    with Crowd(serving, asked.test_rows[0]) as crowd:
        arrival = arrive(task, hubs[task.owner], serving, row=row)
    question = row.prompt.removeprefix("Q: ").removesuffix("\nA:")
    console.print(
        f"{task.adapter} is asked [i]{question}[/i]; right would be [b]{row.completion.strip()}[/b]"
    )
    console.print(f"  version {arrival.before.version}: {arrival.before.text}")
    console.print(
        f"  version {arrival.after.version}: [b]{arrival.after.text}[/b]   ({arrival.after.speakers})"
    )
    if arrival.seconds is None:
        console.print("It has been in the library since this demonstration ran before.")
        return
    console.print(
        f"{arrival.seconds:.1f} s from the finished upload to the first answer with it; meanwhile somebody else got {crowd.answers} answers "
        f"from versions {sorted(crowd.versions)}, {len(crowd.failures)} failed. No restart."
    )


def _take_home(console: Console, hub: HubApi, serving: Serving) -> None:
    folder, checkpoint = taking_home.download(
        hub, library=LIBRARY, folder=settings.DATA / "demo" / "home", console=console
    )
    prompts = [task.test_rows[0].prompt for task in TASKS]
    comparison = taking_home.compare(folder, prompts, serving, version=int(str(checkpoint["version"])))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    console.print(
        f"{folder.name}: {size:.1f} MB, sha256 {str(checkpoint['archive_digest'])[:16]} as the hub says. Loaded in a fresh process with only `routing`:"
    )
    verdict = (
        "[green]equal[/green]"
        if comparison.largest_difference <= EQUAL and not comparison.hub_modules
        else "[red]NOT equal[/red]"
    )
    console.print(
        f"its log-probabilities of {comparison.tokens} prompt tokens are {verdict} to the served ones (largest difference {comparison.largest_difference:.1e})."
    )


def _score(console: Console, tasks: Sequence[Task], hub: HubApi, serving: Serving) -> None:
    version = hub.served_version(LIBRARY)
    found = scores.remembered(
        settings.DATA / "demo" / "scores.json",
        scores.key_of(version["manifest"] if version else "", tasks),
        lambda: scores.score(tasks, serving, console=console),
        console=console,
    )
    console.print(scores.score_table(tasks, found))


def stay(console: Console, running: Running) -> None:
    """The hub runs on until Ctrl-C."""
    maintainer = running.persons[MAINTAINER]
    console.print(f"The hub keeps running at [b]http://127.0.0.1:{running.layout.web_port}[/b]")
    console.print(
        f"Sign in as [b]{maintainer.name}[/b] with password [b]{maintainer.password}[/b]. Ctrl-C stops everything; `make up` starts it again."
    )
    running.leave.wait()
    console.print("Stopping ...")


def leave(_running: Running) -> None:
    """The hub stops at once."""


def _notices(console: Console) -> Say:
    """The parts' own lines go to their log files; here only what the supervisor says of a crash is shown."""

    def say(part: str, line: str) -> None:
        if RESTARTED in line:
            console.print(f"[yellow]{part}: {line}[/yellow]")

    return say
