"""What is done on a page before its picture is taken, by the name of the picture."""

import tempfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from playwright.sync_api import FilePayload, Page

from tests.pages import adapters

PASSWORD = "correct horse"  # of everybody in the content


def stay(page: Page) -> None:
    """Most pages are looked at as they come."""


def wait_until_drawn(page: Page) -> None:
    """The documentation of the API is drawn by its script."""
    page.locator(".opblock").first.wait_for()


def make_token(page: Page) -> None:
    page.locator("#id_name").fill("laptop")
    page.get_by_role("button", name="Make the token").click()


def choose_files(page: Page) -> None:
    files = [
        FilePayload(name="adapter_config.json", mimeType="application/json", buffer=b"{}"),
        FilePayload(
            name="adapter_model.safetensors", mimeType="application/octet-stream", buffer=b"x" * 700_000
        ),
        FilePayload(name="training_args.bin", mimeType="application/octet-stream", buffer=b"x" * 900),
    ]
    page.locator("[data-pick=files]").set_input_files(files)
    page.locator("[data-looked] .findings").wait_for()


def send_a_bad_archive(page: Page) -> None:
    folder = Path(tempfile.mkdtemp())
    with zipfile.ZipFile(folder / "bad.zip", "w") as archive:
        archive.writestr("../../etc/passwd", "root")
        archive.writestr("adapter_config.json", "{}")
    page.locator("[data-pick=files]").set_input_files(folder / "bad.zip")
    page.get_by_role("button", name="Next: library").click()
    page.locator("#id_name").fill("limericks")
    page.locator("[data-steps] button").last.click()
    page.locator("[data-send]").click()
    page.locator("[data-refusals] .alert").wait_for()


def sign_in_wrongly(page: Page) -> None:
    page.locator("#id_login").fill("ada")
    page.locator("#id_password").fill("wrong")
    page.locator("main button").click()
    page.locator(".errorlist").first.wait_for()


def sign_up_wrongly(page: Page) -> None:
    said = {"username": "ada", "email": "ada@example.org", "password1": "short", "password2": "shorter"}
    for name, value in said.items():
        page.locator(f"#id_{name}").fill(value)
    page.locator("main form button").first.click()
    page.locator(".errorlist").first.wait_for()


def open_the_export(page: Page) -> None:
    page.locator("summary", has_text="Push again").click()


def spoil_the_form(page: Page) -> None:
    page.locator("details summary", has_text="this version").first.click()
    page.locator("form.form-row input[name=reason]").first.fill("why not")
    page.evaluate(
        "document.querySelectorAll('[name=csrfmiddlewaretoken]').forEach(field => field.value = 'spoilt')"
    )
    page.locator("form.form-row button").first.click()


def open_the_filters(page: Page) -> None:
    """Where they are not beside the list."""
    button = page.get_by_role("button", name="Filters")
    if button.is_visible():
        button.click()


def prove_it(page: Page) -> None:
    page.locator("#id_password").fill(PASSWORD)
    page.locator("main form button").first.click()
    page.wait_for_url("**/2fa/**")


def sign_in_guarded(page: Page) -> None:
    page.locator("#id_login").fill("gus")
    page.locator("#id_password").fill(PASSWORD)
    page.locator("main form button").first.click()
    page.wait_for_url("**/2fa/authenticate/**")


def reset_again(page: Page) -> None:
    """More often than is allowed."""
    address = page.url
    for _ in range(7):
        page.goto(address)
        page.locator("#id_email").fill("nobody@example.org")
        page.locator("main form button").first.click()
    page.get_by_role("heading", name="Too much at once").wait_for()


def reset_once(page: Page) -> None:
    page.locator("#id_email").fill("somebody@example.org")
    page.locator("main form button").first.click()
    page.wait_for_url("**/done/")


def send_too_much(page: Page) -> None:
    page.evaluate(
        """() => {
          const form = document.querySelector("form[data-upload]");
          const card = Object.assign(document.createElement("textarea"), { name: "card", value: "x".repeat(70_000) });
          const sent = Object.assign(document.createElement("form"), { method: "post", action: "/upload/card" });
          sent.append(card, form.querySelector("[name=csrfmiddlewaretoken]"));
          document.body.append(sent);
          sent.submit();
        }"""
    )
    page.get_by_role("heading", name="Too large").wait_for()


def open_the_menu(page: Page) -> None:
    page.locator(".menu summary").click()


def fill_the_wizard(page: Page, step: str) -> None:
    """Files that fit, and a template that nobody filled in; then to one of the steps."""
    with tempfile.TemporaryDirectory() as folder:
        saved = adapters.saved(Path(folder), "pictured")
        (saved / "README.md").write_text("# Verses\n\n" + "[More Information Needed]\n\n" * 12)
        page.locator("[data-pick=files]").set_input_files(sorted(saved.iterdir()))
        page.locator("[data-steps] [data-state=noted]").wait_for()
    page.locator("[data-steps] button", has_text="Library").click()
    page.locator("#id_name").fill("verses")
    page.locator("[data-steps] button", has_text=step).click()


def ask(page: Page) -> None:
    page.locator("#id_prompt").fill("Theme: the sea")
    page.get_by_role("button", name="Ask", exact=True).click()
    page.locator(".speakers li").first.wait_for()


def have_it_read(page: Page) -> None:
    page.get_by_role("button", name="Have it read").click()
    page.locator("table.heat").wait_for()


STEPS: dict[str, Callable[[Page], None]] = {
    "api": wait_until_drawn,
    "browse-filters": open_the_filters,
    "checkpoint-maintainer": open_the_export,
    "tokens-shown": make_token,
    "upload-chosen": choose_files,
    "upload-refused": send_a_bad_archive,
    "sign-in-wrong": sign_in_wrongly,
    "sign-up-wrong": sign_up_wrongly,
    "forbidden": spoil_the_form,
    "factor-set-up": prove_it,
    "factor-codes": prove_it,
    "factor-asked": sign_in_guarded,
    "password-reset-done": reset_once,
    "error-too-often": reset_again,
    "error-too-large": send_too_much,
    "menu": open_the_menu,
    "upload-library": partial(fill_the_wizard, step="Library"),
    "upload-card": partial(fill_the_wizard, step="Card"),
    "upload-rows": partial(fill_the_wizard, step="Sample rows"),
    "upload-send": partial(fill_the_wizard, step="Send"),
    "play-answered": ask,
    "speakers-read": have_it_read,
}
