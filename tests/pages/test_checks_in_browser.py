"""The checks of the upload page say what the hub's own checks say, in the same words, and never more than these."""

import base64
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route

from hub.limits import Limits
from routing.base import inspect_base
from routing.checks.samples import MAX_BYTES, parse_samples
from routing.checks.static import run_static_checks
from routing.spec import BaseRef, BaseSpec
from tests.pages.browser import CHROMIUM
from tests.routing.checks.test_static import TRAPS
from tests.routing.checks.uploads import good_upload, set_config, spec, write_file
from tests.tiny import tiny_adapter, tiny_gpt2
from tools import browser_rules

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"no Chromium at {CHROMIUM}"),
]
ORIGIN = "http://localhost"
STATIC = Path(__file__).parents[2] / "hub" / "static"
LARGEST = 1_000_000  # what is larger says the same and would only be carried over
LOOK = """
async ([uploads, rows]) => {
  const { read, findingsOf } = await import("/static/fletch/upload/checks/run.js");
  const { readRows } = await import("/static/fletch/upload/checks/rows.js");
  const rules = await (await fetch("/static/fletch/upload/rules.json")).json();
  const blob = (text) => new Blob([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))]);
  const found = {};
  for (const { name, files, spec } of uploads) {
    const upload = new Map(Object.entries(files).map(([path, text]) => [path, blob(text)]));
    found[name] = findingsOf(await read(upload, rules), spec, rules);
  }
  return [found, await Promise.all(rows.map(async (text) => readRows(blob(text), rules.rows)))];
}
"""
# What only a stricter reader of JSON sees, and what needs a second look at another file.
LEFT_TO_THE_HUB = {
    "another tokenizer", "a key twice", "half a surrogate", "a name twice", "a number of 5000 digits", "a number beyond floats",
}  # fmt: skip
IN_OTHER_WORDS = "no JSON: ", "more than ", "bytes that are not UTF-8"
ROWS = (
    b'{"prompt": "a", "completion": "b"}\n\n{"prompt": "a"}\n[1]\n{"prompt": "a", "completion": " "}\n',
    b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n{"messages": []}\n',
    b'{"messages": [{"role": "wizard", "content": "a"}]}\n'
    b'{"prompt": "' + b"x" * 20_001 + b'", "completion": "b"}\n',
    b"",
    b'{"prompt": "a", "completion": "b"}\n' * 1001,
)

Case = tuple[Path, BaseSpec]


def cases(folder: Path) -> dict[str, Case]:
    """Good adapters, adapters to be warned of, and every trap of the hub's own tests that is small."""
    made: dict[str, Case] = {"good": (good_upload(folder / "good"), spec())}
    gpt2 = inspect_base(BaseRef(str(tiny_gpt2())), name=tiny_gpt2().name)
    made["good, with other layers"] = (
        tiny_adapter(folder / "gpt2", tiny_gpt2(), layers=[0], targets=["c_proj"]),
        gpt2,
    )
    for name, spoil in {
        "strangers": write_file("notes/x.py"), "renamed base": set_config(base_model_name_or_path="/me/renamed"), "rslora": set_config(use_rslora=True),
        "unset base": set_config(base_model_name_or_path=None), "pissa": set_config(init_lora_weights="pissa"), "tokens": set_config(trainable_token_indices=[1, 2]),
        **{name: spoil for name, (spoil, *_) in TRAPS.items()},
    }.items():  # fmt: skip
        place = good_upload(folder / name.replace("/", "-"))
        spoil(place)
        if sum(file.stat().st_size for file in place.rglob("*") if file.is_file()) < LARGEST:
            made[name] = (place, spec())
    return made


def carried(name: str, case: Case) -> dict[str, Any]:
    place, base = case
    files = {
        path.relative_to(place).as_posix(): base64.b64encode(path.read_bytes()).decode()
        for path in place.rglob("*")
        if path.is_file()
    }
    return {"name": name, "files": files, "spec": base.to_json()}


@pytest.fixture
def page(browser: Browser) -> Page:
    """The hub's scripts without a hub: whatever its database is, they say the same."""
    page = browser.new_page()
    page.route(f"{ORIGIN}/**", given)
    page.goto(f"{ORIGIN}/")
    return page


def given(route: Route) -> None:
    path = route.request.url.removeprefix(f"{ORIGIN}/static/")
    if path == f"{ORIGIN}/":
        route.fulfill(body="<!doctype html>", content_type="text/html")
    else:
        route.fulfill(path=STATIC / path)


def test_browser_and_hub_find_the_same(page: Page, tmp_path: Path) -> None:
    made = cases(tmp_path)
    carriage = [carried(name, case) for name, case in made.items()]
    found, rows = page.evaluate(LOOK, [carriage, [base64.b64encode(text).decode() for text in ROWS]])

    different = {}
    for name, (place, base) in made.items():
        hubs = [finding.to_json() for finding in run_static_checks(place, base)]
        if name not in LEFT_TO_THE_HUB and worded(found[name]) != worded(hubs, alike=found[name]):
            different[name] = (found[name], hubs)
    assert different == {}
    for text, seen in zip(ROWS, rows, strict=True):
        samples, findings = parse_samples(text)
        assert (seen["rows"], seen["findings"]) == (len(samples), [finding.to_json() for finding in findings])


def worded(findings: list[dict[str, str]], alike: list[dict[str, str]] | None = None) -> list[dict[str, str]]:
    """In order; of JSON that cannot be read, each reader has its own words for what was found."""
    unread = {one["file"] for one in (alike or findings) if one["found"].startswith(IN_OTHER_WORDS)}
    return [
        {**one, "found": "..."} if one["file"] in unread and one["expected"] == "plain UTF-8 JSON" else one
        for one in findings
    ]


def test_the_browser_s_tables_are_the_hub_s() -> None:
    assert browser_rules.PLACE.read_text() == browser_rules.written(), "run python -m tools.browser_rules"


def test_the_door_takes_as_many_sample_rows_as_the_checks() -> None:
    assert Limits().samples_bytes == MAX_BYTES


def test_the_browser_s_digest_is_sha256(page: Page) -> None:
    script = """async () => {
      const { Sha256 } = await import("/static/fletch/upload/sha256.js");
      const bytes = Uint8Array.from({ length: 100_003 }, (_, at) => (at * 31) % 251);
      const found = [];
      for (const size of [0, 1, 55, 56, 63, 64, 65, 100_003]) {
        const sum = new Sha256();
        for (let at = 0; at < size; at += 97) sum.update(bytes.subarray(at, Math.min(size, at + 97)));
        const whole = await crypto.subtle.digest("SHA-256", bytes.subarray(0, size));
        found.push(sum.digest() === [...new Uint8Array(whole)].map((byte) => byte.toString(16).padStart(2, "0")).join(""));
      }
      return found;
    }"""
    assert page.evaluate(script) == [True] * 8
