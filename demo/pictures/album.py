"""What is photographed of the demonstration's hub, for README.md and the documentation."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from playwright.sync_api import Page

from demo.show.people import MAINTAINER
from demo.show.refusal import NAME as REFUSED
from demo.show.story import LIBRARY
from demo.tasks import TASKS, Task

WIDTH, HEIGHT = 1280, 800
LIGHT, DARK = "light", "dark"
ANSWERED = 120_000  # milliseconds at most until an answer is there
ASKED = "politeness"
COMPARED = "compare=on&b-router=arrow&b-top_k=2&b-shortlist=0"  # among all experts at each token
AT_HOME = f"/libraries/{LIBRARY}"


def look(page: Page) -> None:
    """As it comes."""


@dataclass(frozen=True)
class Picture:
    """One picture: its name in docs/pictures, whose page it is, and what is done there first.

    Where `top` names a part of the page, that is what the picture begins with; where `only` does, it is all.
    """

    name: str
    path: str
    by: str | None = None
    act: Callable[[Page], None] = look
    top: str = ""
    only: str = ""
    height: int = HEIGHT
    schemes: tuple[str, ...] = (LIGHT,)

    def files(self) -> Iterator[tuple[str, str]]:
        """Scheme and name of each file; the first scheme needs no mark."""
        for scheme in self.schemes:
            yield scheme, f"{self.name}.webp" if scheme == self.schemes[0] else f"{self.name}-{scheme}.webp"


def ask(page: Page) -> None:
    """A question of one contributor's kind, also of all experts at each token."""
    page.locator("#id_prompt").fill(_task(ASKED).test_rows[0].prompt)
    page.locator("[data-go]").click()
    page.locator("[data-stop]").wait_for(state="visible")
    page.locator("[data-stop]").wait_for(state="hidden", timeout=ANSWERED)


def have_it_read(page: Page) -> None:
    """A text that the page offers, by a router that looks at each token among all experts."""
    page.locator("#id_router").select_option("arrow")
    page.get_by_role("button", name="Have it read").click()
    page.locator("table.heat").wait_for(timeout=ANSWERED)


def choose_files(page: Page) -> None:
    """An adapter's folder, looked at before a byte is sent."""
    files = sorted(_task("plural").adapter_directory.iterdir())
    page.locator("[data-pick=files]").set_input_files(files)
    page.wait_for_load_state("networkidle")


def choose_one_adapter(page: Page) -> None:
    """Another format than the one that the story had made."""
    page.locator("input[name=kind][value=adapter]").check()
    page.wait_for_function("!document.querySelector('main').innerText.includes('It is there already')")


def _task(name: str) -> Task:
    return next(task for task in TASKS if task.name == name)


def _adapter(name: str) -> str:
    return f"/{_task(name).adapter}"


ALBUM = (
    Picture("home", "/", height=860, schemes=(LIGHT, DARK)),
    Picture("browse", "/adapters"),
    Picture("library", AT_HOME),
    Picture("adapter", _adapter("capitals"), top="#expert", height=900),
    Picture("upload", f"{AT_HOME}/upload", by=_task("plural").owner, act=choose_files, height=1120),
    Picture("refused", f"/{TASKS[0].owner}/{REFUSED}", by=TASKS[0].owner, height=900),
    Picture("pipeline", _adapter("pirate-greeting"), only="aside section:has(.steps)"),
    Picture("map", f"{AT_HOME}/map", top=".tabs", height=940),
    Picture("versions", f"{AT_HOME}/versions", by=MAINTAINER, height=1000),
    Picture("speakers", f"{AT_HOME}/speakers", by=MAINTAINER, act=have_it_read),
    Picture(
        "playground", f"{AT_HOME}/play?{COMPARED}", by=MAINTAINER, act=ask, height=960, schemes=(LIGHT, DARK)
    ),
    Picture("builder", f"{AT_HOME}/checkpoints/new", by=MAINTAINER, act=choose_one_adapter),
    Picture("leaderboard", f"{AT_HOME}/evaluations"),
    Picture("desk", "/desk", by=MAINTAINER),
)
