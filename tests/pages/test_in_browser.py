"""A real Chromium over the real pages: signing up, dragging a folder in, and what a hostile upload cannot do."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from hub.adapters.models import Release
from hub.exports import services as exports
from hub.jobs import services as jobs
from hub.jobs.models import JobKind
from tests.hub import making
from tests.pages import content
from tests.pages.browser import CHROMIUM
from tests.pages.visiting import visit

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"no Chromium at {CHROMIUM}"),
]


def sign_up(page: Page, name: str) -> None:
    page.locator("#id_username").fill(name)
    page.locator("#id_email").fill(f"{name}@example.org")
    page.locator("#id_password1").fill("a long enough secret")
    page.locator("#id_password2").fill("a long enough secret")
    page.locator("main button").click()


def folder_of(place: Path) -> Path:
    folder = place / "my-adapter"
    (folder / "notes").mkdir(parents=True)
    for path, data in content.files("browser").items():
        (folder / path).write_bytes(data)
    (folder / "notes" / "training.md").write_text("three epochs")
    (folder / ".DS_Store").write_bytes(b"litter")
    return folder


def drop(page: Page, path: Path) -> None:
    """What a file manager does: over the page, and let go. The browser sees a real folder."""
    box = page.locator("[data-drop]").bounding_box()
    assert box is not None
    pointer = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
    session = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, **pointer, "data": data})


def test_a_newcomer_signs_up_drops_a_folder_and_follows_it(
    browser: Browser, live_server: LiveServer, tmp_path: Path
) -> None:
    library = content.found_library()
    watched = visit(browser, live_server)
    page = watched.open("/upload")
    page.locator("main").get_by_role("link", name="sign up").click()
    sign_up(page, "dora")

    expect(page.get_by_role("heading", name="Upload an adapter")).to_be_visible()
    page.locator("#id_name").fill("limericks")
    drop(page, folder_of(tmp_path))
    expect(page.locator("[data-files] li")).to_have_count(4)
    expect(page.locator("[data-files]")).to_contain_text("notes/training.md")
    expect(page.locator("[data-files]")).not_to_contain_text(".DS_Store")
    page.get_by_role("button", name="Send").click()

    page.wait_for_url("**/dora/limericks/releases/*")
    release = Release.objects.get()
    assert release.adapter.library == library
    assert [file.path for file in release.commit.files.all()] == [
        "README.md", "adapter_config.json", "adapter_model.safetensors", "notes/training.md",
    ]  # fmt: skip
    expect(page.locator(".steps li.done")).to_have_count(1)
    assert watched.suspicious == []


def test_the_release_page_follows_the_pipeline_without_being_reloaded(
    browser: Browser, live_server: LiveServer
) -> None:
    ada, library = making.user("ada"), content.found_library()
    release = making.upload(ada, library)
    watched = visit(browser, live_server)
    page = watched.open(f"/ada/poetry/releases/{release.oid}")
    expect(page.locator(".steps")).to_contain_text("Waiting for a worker")

    claim = making.take(JobKind.VALIDATE)
    jobs.report_progress(claim, 3, 9, "tensor number three")
    expect(page.locator(".steps li.running")).to_contain_text("tensor number three")

    jobs.fail(claim, "out of paper")
    expect(page.locator(".steps li.stopped")).to_contain_text("Your upload is kept")
    assert watched.suspicious == []


def test_an_owner_pushes_to_another_hub_and_sees_it_arrive(
    browser: Browser, live_server: LiveServer, settings: Settings
) -> None:
    settings.EXPORT_TO = ("https://other-hub.example",)
    ada = making.user("ada")
    making.ready(ada, making.library())
    watched = visit(browser, live_server, ada)
    page = watched.open("/ada/poetry")

    page.get_by_text("Push to another hub").click()
    page.get_by_label("Repository", exact=True).fill("ada-l/verses")
    page.get_by_label("Token of the other hub").fill("hf_theirs")
    page.get_by_role("button", name="Push").click()
    expect(page.locator(".items", has_text="ada-l/verses").get_by_text("On its way")).to_be_visible()
    claim = making.take(JobKind.EXPORT)
    exports.record_done(claim, claim.ids["export_id"], commit="c" * 40)
    jobs.finish(claim)

    arrived = page.locator(".items li", has_text="Done").get_by_role("link")
    expect(arrived).to_have_attribute("href", f"https://other-hub.example/ada-l/verses/commit/{'c' * 40}")
    assert watched.suspicious == []


def test_an_upload_shows_its_bytes_and_can_be_stopped(
    browser: Browser, live_server: LiveServer, tmp_path: Path
) -> None:
    content.found_library()
    watched = visit(browser, live_server, making.user("ada"))
    page = watched.open("/libraries/demo/upload")
    page.locator("#id_name").fill("large")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"x" * 8_000_000)
    page.locator("[data-pick=files]").set_input_files(tmp_path / "adapter_model.safetensors")
    expect(page.locator("[data-summary]")).to_have_text("1 file, 7.6 MiB")
    slow = page.context.new_cdp_session(page)
    slow.send("Network.enable")
    slow.send(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 1_000_000},
    )

    page.get_by_role("button", name="Send").click()
    expect(page.locator("[data-status]")).to_contain_text("of 7.6 MiB")
    expect(page.locator("progress")).to_be_visible()
    page.get_by_role("button", name="Stop").click()

    expect(page.locator("[data-status]")).to_have_text("Stopped. Nothing was kept.")
    assert not Release.objects.exists()
    expect(page.locator("#id_name")).to_have_value("large")
    expect(page.locator("[data-files] li")).to_have_count(1)


def test_a_refusal_is_shown_beside_what_was_typed_and_chosen(
    browser: Browser, live_server: LiveServer, tmp_path: Path
) -> None:
    content.found_library()
    watched = visit(browser, live_server, making.user("ada"))
    page = watched.open("/libraries/demo/upload")
    page.locator("#id_name").fill("poetry")
    page.locator("#id_message").fill("careful words")
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04 this is no archive")
    page.locator("[data-pick=files]").set_input_files(tmp_path / "bad.zip")

    page.get_by_role("button", name="Send").click()

    expect(page.locator("[data-refusals]")).to_contain_text("Not accepted")
    expect(page.locator("[data-refusals] .finding").first).to_be_visible()
    expect(page.locator("#id_message")).to_have_value("careful words")
    expect(page.locator("[data-files] li")).to_have_count(1)
    expect(page.get_by_role("button", name="Send")).to_be_enabled()


def test_too_many_or_too_large_files_are_refused_before_a_byte_is_sent(
    browser: Browser, live_server: LiveServer, tmp_path: Path
) -> None:
    content.found_library()
    watched = visit(browser, live_server, making.user("ada"))
    page = watched.open("/libraries/demo/upload")
    for number in range(65):
        (tmp_path / f"{number}.md").write_text("x")

    page.locator("[data-pick=files]").set_input_files(sorted(tmp_path.glob("*.md")))

    expect(page.locator("[data-summary]")).to_contain_text("at most 64 files")
    expect(page.get_by_role("button", name="Send")).to_be_disabled()


def test_everything_from_signing_up_to_the_release_works_without_scripts(
    browser: Browser, live_server: LiveServer, tmp_path: Path
) -> None:
    content.found_library()
    watched = visit(browser, live_server, java_script_enabled=False)
    page = watched.open("/accounts/signup/?next=/libraries/demo/upload")
    sign_up(page, "dora")

    page.locator("#id_name").fill("limericks")
    folder = folder_of(tmp_path)
    page.locator("#id_files").set_input_files([folder / path for path in content.files("browser")])
    page.get_by_role("button", name="Send").click()

    page.wait_for_url("**/dora/limericks/releases/*")
    expect(page.locator(".steps li.done")).to_have_count(1)
    page.locator("header summary").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("link", name="Sign in")).to_be_visible()
    assert Release.objects.count() == 1


def test_a_hostile_upload_acts_nowhere_and_calls_nobody(browser: Browser, live_server: LiveServer) -> None:
    ada, library = making.user("ada"), content.found_library()
    release = content.hostile(ada, library)
    watched = visit(browser, live_server, ada)

    for path in ("/", "/libraries/demo", "/ada", "/ada/hostile", f"/ada/hostile/releases/{release.oid}"):
        watched.open(path).wait_for_load_state("networkidle")

    assert watched.suspicious == []


def test_no_page_breaks_the_policy_or_grows_wider_than_a_phone(
    browser: Browser, live_server: LiveServer
) -> None:
    made = content.typical()
    watched = visit(browser, live_server, made.maintainer, viewport={"width": 390, "height": 844})
    long = made.long.adapter.full_name
    paths = (
        "/", "/libraries/demo", f"/{long}", f"/{long}/releases/{made.long.oid}", f"/{made.rejected.adapter.full_name}", "/libraries/demo/upload",
        "/libraries/demo/versions", "/libraries/demo/checkpoints", f"/checkpoints/{made.checkpoint.pk}", f"/checkpoints/{made.composing.pk}",
        "/ada", "/settings/tokens", "/accounts/email/", "/accounts/password/change/", "/nobody/nothing",
    )  # fmt: skip
    for path in paths:
        page = watched.open(path)
        assert not page.evaluate("document.documentElement.scrollWidth > window.innerWidth"), path

    assert watched.suspicious == []


def test_the_keyboard_reaches_the_content_first_and_the_menu_closes_with_escape(
    browser: Browser, live_server: LiveServer
) -> None:
    content.found_library()
    page = visit(browser, live_server, making.user("ada")).open("/libraries/demo")

    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.locator("header summary").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="API tokens")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="API tokens")).to_be_hidden()
    expect(page.locator("header summary")).to_be_focused()
