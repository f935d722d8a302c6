"""The whole story in a real browser, over a whole hub: join, contribute, ask, hear oneself, take the model home."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from routing.checkpoint import load_checkpoint
from tests.end_to_end.hub_process import RunningHub, eventually
from tests.pages.browser import CHROMIUM, chromium
from tests.pages.test_in_browser import sign_up
from tests.pages.test_upload_in_browser import drop, step
from tests.tiny import tiny_adapter, tiny_llama

pytestmark = [
    pytest.mark.browser,
    pytest.mark.long(30),
    pytest.mark.together("one hub"),
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"no Chromium at {CHROMIUM}"),
]
PROMPT = "The ferry leaves at nine"
LONG = 60_000  # milliseconds: what workers do takes its time on two busy cores


@pytest.fixture
def hub(one_hub: RunningHub) -> RunningHub:
    """With a library that cleo keeps."""
    cleo = ("create_user", "cleo", "--email", "cleo@example.org", "--password", "a long enough secret")
    founding = ("create_library", "harbour", str(tiny_llama()), "--maintainer", "cleo", "--router", "arrow")
    one_hub.people({}, cleo, (*founding, "--wait"))
    return one_hub


@pytest.fixture
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.mark.timeout(240)
def test_a_newcomer_is_heard_and_a_maintainer_takes_it_back(
    hub: RunningHub, browser: Browser, tmp_path: Path
) -> None:
    dora = browser.new_page(base_url=hub.web)
    dora.goto("/accounts/signup/")
    sign_up(dora, "dora")
    contribute(dora, "boats", tiny_adapter(tmp_path / "boats", rank=4, seed=1))
    see_it_ready(dora)
    eventually(lambda: hub.served_version("harbour") == 1, log=hub.log)
    assert ask(dora) == ["dora/boats"]

    contribute(dora, "bread", spoilt(tiny_adapter(tmp_path / "bread", rank=2, seed=2)), fits=False)
    mend(dora)
    see_it_ready(dora)
    eventually(lambda: hub.served_version("harbour") == 2, log=hub.log)
    take_home(dora, tmp_path, experts={"dora/boats", "dora/bread"})

    cleo = browser.new_page(base_url=hub.web)
    sign_in(cleo, "cleo")
    quarantine(cleo, "dora/bread")
    roll_back(cleo, to=1)
    eventually(lambda: hub.served_version("harbour") == 1, log=hub.log)
    assert ask(dora) == ["dora/boats"]


def sign_in(page: Page, name: str) -> None:
    page.goto("/accounts/login/")
    page.locator("#id_login").fill(name)
    page.locator("#id_password").fill("a long enough secret")
    page.locator("main button").first.click()
    expect(page.locator("header").get_by_text(name)).to_be_visible()


def spoilt(folder: Path) -> Path:
    """An adapter that says of itself what the library does not take."""
    config = folder / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "bias": "all"}))
    return folder


def contribute(page: Page, name: str, folder: Path, *, fits: bool = True) -> None:
    """Dropped and sent, as the steps of the page lead."""
    page.goto("/libraries/harbour/upload")
    drop(page, folder)
    looked = page.locator("[data-looked]")
    if fits:
        expect(looked).to_contain_text("Read here, and it fits")
    else:
        expect(looked.locator(".finding")).to_contain_text("bias")
    step(page, "Library")
    page.locator("#id_name").fill(name)
    step(page, "Send")
    page.locator("[data-send]").click()
    page.wait_for_url(f"**/dora/{name}/releases/*")


def see_it_ready(page: Page) -> None:
    """The page follows its release by itself."""
    expect(page.locator(".badge", has_text="Ready").first).to_be_visible(timeout=LONG)


def mend(page: Page) -> None:
    """Refused with what is wrong; one file is put right, the others are kept."""
    page.get_by_role("link", name="Fix and try again").click(timeout=LONG)
    field = page.get_by_label("Edit it here").first
    field.fill(json.dumps({**json.loads(field.input_value()), "bias": "none"}))
    page.get_by_role("button", name="Try again").click()
    page.wait_for_url("**/dora/bread/releases/*")


def ask(page: Page) -> list[str]:
    """Who spoke, as the playground says."""
    page.goto("/libraries/harbour/play")
    page.get_by_label("Prompt", exact=True).fill(PROMPT)
    page.get_by_role("button", name="Ask", exact=True).click()
    speakers = page.locator("[data-column=a] [data-speakers] a")
    expect(speakers.first).to_be_visible(timeout=LONG)
    return speakers.all_text_contents()


def take_home(page: Page, place: Path, *, experts: set[str]) -> None:
    """Composed, followed, downloaded, loaded."""
    page.goto("/libraries/harbour/checkpoints")
    page.locator("main").get_by_role("link", name="Compose").first.click()
    page.get_by_role("button", name="Compose").click()
    with page.expect_download(timeout=LONG) as download:
        page.get_by_role("link", name="Download").first.click(timeout=LONG)
    with tarfile.open(download.value.path()) as archive:
        archive.extractall(place / "home", filter="data")
    (folder,) = (place / "home").iterdir()
    assert set(load_checkpoint(folder).experts) == experts


def quarantine(page: Page, adapter: str) -> None:
    page.goto(f"/{adapter}")
    page.get_by_role("link", name="Release 2").first.click()
    page.get_by_text("Put it in quarantine").click()
    page.locator("#quarantine-reason").fill("copied from a book")
    page.get_by_role("button", name="Quarantine").click()
    expect(page.get_by_text("Held back by a maintainer").first).to_be_visible()


def roll_back(page: Page, *, to: int) -> None:
    page.goto("/libraries/harbour/versions")
    panel = page.locator("article", has=page.get_by_role("heading", name=f"Version {to}"))
    panel.get_by_text("Roll back to this version").click()
    panel.get_by_label("Reason").fill("as it was before")
    panel.get_by_role("button", name=f"Roll back to {to}").click()
    expect(panel.get_by_text("Served now")).to_be_visible()
