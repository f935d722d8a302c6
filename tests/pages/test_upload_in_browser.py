"""Uploading in a real Chromium: dropped, looked at before a byte is sent, gone on with, refused and fixed."""

import json
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from hub.accounts import organisations
from hub.adapters.models import Release
from hub.library.models import Library
from tests.hub import making
from tests.pages import adapters, content
from tests.pages.browser import CHROMIUM
from tests.pages.test_in_browser import sign_up
from tests.pages.visiting import visit

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"no Chromium at {CHROMIUM}"),
]
WEIGHTS = "adapter_model.safetensors"


def drop(page: Page, path: Path) -> None:
    """What a file manager does: over the page, and let go. The browser sees a real folder."""
    expect(page.locator("form.wizard")).to_be_visible()
    page.locator("[data-drop]").evaluate("place => place.scrollIntoView({block: 'center'})")
    box = page.locator("[data-drop]").bounding_box()
    assert box is not None
    pointer = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
    session = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, **pointer, "data": data})


def step(page: Page, name: str) -> None:
    page.locator("[data-steps]").get_by_role("button", name=name).click()


def send(page: Page) -> None:
    step(page, "Send")
    page.locator("[data-send]").click()


def slowed(page: Page, bytes_a_second: int) -> None:
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    limits = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": bytes_a_second}
    session.send("Network.emulateNetworkConditions", limits)


def test_a_newcomer_drops_a_folder_is_led_through_the_steps_and_sees_it_become_ready(
    browser: Browser, live_server: LiveServer, tmp_path: Path
) -> None:
    library, other = content.found_library(), content.found_library("other")
    Library.objects.filter(pk=other.pk).update(base_source="meta-llama/Llama-3.1-8B")
    folder = adapters.saved(tmp_path / "verses", "newcomer")
    (folder / "notes").mkdir()
    (folder / "notes" / "training.md").write_text("three epochs")
    (folder / ".DS_Store").write_bytes(b"litter")
    watched = visit(browser, live_server)
    page = watched.open("/upload")
    page.locator("main").get_by_role("link", name="sign up").click()
    sign_up(page, "dora")

    drop(page, folder)
    expect(page.locator("[data-files] li")).to_have_count(4)
    expect(page.locator("[data-files]")).not_to_contain_text(".DS_Store")
    expect(page.locator("[data-looked]")).to_contain_text("Read here, and it fits")
    page.get_by_role("button", name="Next: library").click()
    expect(page.locator("input[value=demo]")).to_be_checked()
    expect(page.locator("[data-recognised]")).to_contain_text("the base of one library here")
    page.locator("#id_name").fill("verses")
    page.get_by_role("button", name="Next: card").click()
    page.locator("#id_license").fill("apache-2.0")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator("[data-preview] em")).to_have_text("verses")
    send(page)

    page.wait_for_url("**/dora/verses/releases/*")
    release = Release.objects.get()
    assert release.adapter.library == library
    assert release.commit.card == {"license": "apache-2.0", "tags": ["verse"]}
    assert {file.path for file in release.commit.files.all()} == {*adapters.files(""), "notes/training.md"}
    content.judge(release)
    content.compute(release, content.statistics(1))
    expect(page.locator(".badge", has_text="Ready").first).to_be_visible(timeout=15_000)
    assert watched.suspicious == []


def test_what_does_not_fit_is_said_before_a_byte_is_sent_and_fixed_after_it_was_refused(
    browser: Browser, live_server: LiveServer, tmp_path: Path
) -> None:
    content.found_library()
    watched = visit(browser, live_server, making.user("ada"))
    page = watched.open("/libraries/demo/upload")
    folder = adapters.saved(tmp_path / "biased", "refused", bias="all")
    (folder / "README.md").write_text("# Verses\n\n" + "[More Information Needed]\n\n" * 2)
    drop(page, folder)
    expect(page.locator("[data-steps] [data-state=noted]")).to_contain_text("Card(done, with a note)")
    expect(page.locator("[data-looked] .finding")).to_contain_text("It would change the base's own biases")
    step(page, "Library")
    page.locator("#id_name").fill("verses")
    step(page, "Send")
    expect(page.locator("[data-review]")).to_contain_text("1 to fix: the hub would refuse this")
    page.get_by_role("button", name="Send all the same").click()
    page.wait_for_url("**/ada/verses/releases/*")
    content.judge(Release.objects.get(), [{**content.FINDINGS[0], "file": "adapter_config.json"}])

    page.get_by_role("link", name="Fix and try again").click(timeout=15_000)
    field = page.get_by_label("Edit it here").first
    field.fill(json.dumps({**json.loads(field.input_value()), "bias": "none"}))
    page.get_by_label("Add files").set_input_files(
        {"name": "notes.md", "mimeType": "text/markdown", "buffer": b"# Notes"}
    )
    sent = []
    page.on("request", lambda request: sent.append(urlsplit(request.url).path))
    page.get_by_role("button", name="Try again").click()

    page.wait_for_url("**/ada/verses/releases/*")
    mended = Release.objects.get(number=2)
    assert page.url.endswith(mended.oid)
    assert any(path.startswith("/upload/pieces/") for path in sent)
    assert mended.commit.files.get(path="notes.md").blob.size == len("# Notes")
    assert mended.commit.config["peft_type"] == "LORA"
    assert (
        mended.commit.files.get(path=WEIGHTS).blob
        == Release.objects.get(number=1).commit.files.get(path=WEIGHTS).blob
    )
    assert watched.suspicious == []


def test_an_upload_is_paused_and_goes_on_after_a_reload_with_what_came(
    browser: Browser, live_server: LiveServer, tmp_path: Path
) -> None:
    content.found_library()
    ada = making.user("ada")
    organisations.found(name="rhyme-lab", by=ada)
    watched = visit(browser, live_server, ada)
    page = watched.open("/libraries/demo/upload")
    folder = adapters.saved(tmp_path / "large", "large", rank=60)  # 3.2 MiB
    drop(page, folder)
    step(page, "Library")
    page.get_by_role("radio", name="rhyme-lab").check()
    page.locator("#id_name").fill("large")
    slowed(page, 300_000)
    send(page)
    expect(page.locator("[data-figures]")).to_contain_text("a second", timeout=20_000)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("[data-status]")).to_have_text("Paused. What came stays on the hub.")

    page.reload()
    slowed(page, -1)
    expect(page.locator("[data-unfinished=large]")).to_contain_text("of 3.2 MiB")
    page.locator("[data-unfinished=large]").get_by_role("link", name="Go on").click()
    page.wait_for_url("**/upload?name=large&owner=rhyme-lab")
    drop(page, folder)
    expect(page.locator("[data-looked]")).to_contain_text("Read here, and it fits")
    send(page)

    page.wait_for_url("**/rhyme-lab/large/releases/*")
    assert Release.objects.get().commit.files.get(path=WEIGHTS).blob.size == (folder / WEIGHTS).stat().st_size
    assert watched.suspicious == []


def test_a_zip_is_opened_here_and_what_is_none_is_left_to_the_hub(
    browser: Browser, live_server: LiveServer, tmp_path: Path
) -> None:
    content.found_library()
    page = visit(browser, live_server, making.user("ada")).open("/libraries/demo/upload")
    with zipfile.ZipFile(tmp_path / "good.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in adapters.files("zip").items():
            archive.writestr(f"verses/{path}", data)
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04 this is no archive")

    page.locator("[data-pick=files]").set_input_files(tmp_path / "good.zip")
    named = ["adapter_config.json", WEIGHTS, "README.md"]
    expect(page.locator("[data-files] .path")).to_have_text(named)
    expect(page.locator("[data-looked]")).to_contain_text("Read here, and it fits")
    page.locator("[data-pick=files]").set_input_files(tmp_path / "bad.zip")
    expect(page.locator("[data-files]")).to_contain_text("The hub opens this archive")
    step(page, "Library")
    page.locator("#id_name").fill("poetry")
    page.locator("#id_message").fill("careful words")
    send(page)

    expect(page.locator("[data-refusals]")).to_contain_text("Not accepted")
    expect(page.locator("[data-refusals] .finding").first).to_be_visible()
    step(page, "Library")
    expect(page.locator("#id_message")).to_have_value("careful words")
    assert not Release.objects.exists()


def test_too_many_files_are_refused_before_a_byte_is_sent(
    browser: Browser, live_server: LiveServer, tmp_path: Path
) -> None:
    content.found_library()
    page = visit(browser, live_server, making.user("ada")).open("/libraries/demo/upload")
    for number in range(65):
        (tmp_path / f"{number}.md").write_text("x")

    page.locator("[data-pick=files]").set_input_files(sorted(tmp_path.glob("*.md")))

    expect(page.locator("[data-summary]")).to_contain_text("at most 64 files")
    step(page, "Send")
    expect(page.locator("[data-send]")).to_be_disabled()
