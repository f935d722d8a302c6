"""A stranger's card runs nothing, fetches nothing, and cannot take the hub's time."""

import re
import sys
from collections.abc import Callable

import pytest

from hub.adapters.cards import LARGEST_CARD, read_card
from hub.pages import cards

MOST_CALLS = 2_000_000  # of functions: a second or so
HARMFUL = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "[a](javascript:alert(1))",
    "[a](JaVaScRiPt:alert(1))",
    "[a](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    "[a](vbscript:msgbox)",
    "![a](javascript:alert(1))",
    '[a](https://x.example "onmouseover=alert(1)")',
    "<a href='javascript:alert(1)'>a</a>",
    "<details open ontoggle=alert(1)>",
    "<iframe src='https://x.example'></iframe>",
    "<style>body{background:url(https://x.example)}</style>",
    "<form action='https://x.example'><input name=password></form>",
    "[a]: javascript:alert(1)\n\n[a]",
    '<https://x.example/"><script>alert(1)</script>>',
)


@pytest.mark.parametrize("source", HARMFUL)
def test_nothing_that_acts_survives(source: str) -> None:
    html = cards.render(source)

    assert not re.search(
        r"<(script|img|svg|iframe|style|form|input|details|object|embed|link|meta)\b", html, re.IGNORECASE
    )
    assert not re.search(r"<[^>]+\s(on\w+|style|srcset|src)\s*=", html, re.IGNORECASE)
    assert not re.search(r'href="(?!https?:|mailto:)', html, re.IGNORECASE)


def test_an_image_becomes_a_link_that_is_not_fetched() -> None:
    html = cards.render("![the loss](https://x.example/loss.png)")

    assert "<img" not in html
    assert '<a href="https://x.example/loss.png"' in html
    assert "[image: the loss]" in html


def test_a_sign_stays_before_its_number_where_text_runs_from_right_to_left() -> None:
    html = cards.render("الخسارة -0.04 و+3% في 2019-2020 مع gpt-4 و`-1` <b>-2</b>")

    assert [part.split("<")[0] for part in html.split('<bdi dir="ltr">')[1:]] == ["-0.04", "+3%", "-2"]
    assert "<b>" not in html
    assert cards.with_signs("<b>-2") == '&lt;b&gt;<bdi dir="ltr">-2</bdi>'


def test_what_people_write_stays() -> None:
    html = cards.render(
        "# Title\n\n| a | b |\n|---|---|\n| 1 | **2** |\n\n```python\nx = 1\n```\n\n- one\n- two"
    )

    for tag in ("<h2>Title</h2>", "<table>", "<strong>2</strong>", '<pre tabindex="0">', "<li>one</li>"):
        assert tag in html


def test_links_say_that_we_do_not_vouch_for_them() -> None:
    assert 'rel="nofollow ugc noopener"' in cards.render("[a](https://x.example)")


def test_front_matter_becomes_short_facts() -> None:
    card = read_card(b"---\nlicense: mit\ntags: [a, b]\nnested: {x: {y: 1}}\n---\n# Body\n")

    assert card.facts == {"license": ["mit"], "tags": ["a", "b"]}
    assert card.body.strip() == "# Body"


@pytest.mark.parametrize(
    "head",
    [
        "a: &x [1, 2]\nb: *x",
        "a: !!python/object/apply:os.system [id]",
        "a: [",
        "{" * 2000,
        "- " * 5000,
        "a: 2024-99-99",
    ],
)
def test_a_broken_or_hostile_front_matter_leaves_the_card_readable(head: str) -> None:
    card = read_card(f"---\n{head}\n---\n# Body\n".encode())

    assert "Body" in card.body
    assert card.complaint or card.facts == {}


def test_a_card_that_is_too_large_is_not_rendered() -> None:
    card = read_card(b"x" * (LARGEST_CARD + 1))

    assert card.body == ""
    assert card.complaint == ""
    assert "64 KiB" in card.note


@pytest.mark.parametrize(
    "bomb",
    [
        "".join(f"[{i}]: https://x.example/{'y' * 50}\n" for i in range(900)),
        ">" * 60_000,
        "[" * 60_000,
        "[" * 4_999,
        "![" * 2_400,
        "[a](" * 4_900,
        "*a " * 20_000,
        "`" * 60_000,
        "| a " * 15_000 + "\n" + "|---" * 15_000,
        "- " * 30_000,
    ],
)
def test_a_card_cannot_take_our_time(bomb: str) -> None:
    html, calls = counting_calls(lambda: cards.render(bomb))

    assert calls < MOST_CALLS
    assert len(html) < 4 * LARGEST_CARD + 100


def counting_calls(work: Callable[[], str]) -> tuple[str, int]:
    """Work as the interpreter counts it: the same on a fast machine and on a busy one."""
    calls = 0

    def look(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        return work(), calls
    finally:
        sys.setprofile(before)


def test_of_a_template_is_shown_what_somebody_filled_in() -> None:
    card = read_card(
        b"""---
license: mit
---
# Birds

<!-- Provide a quick summary. -->

Knows the calls <!-- of
fifteen --> of birds.

## Uses

### Direct use

<!-- For whom. -->
[More Information Needed]

## Data

- **Language:** [More Information Needed]
- **Rows:** 15

```python
# [More Information Needed]
<!-- stays -->
```

## Contact

[More Information Needed]
"""
    )

    assert card.body.split() == [
        *("#", "Birds", "Knows", "the", "calls", "of", "birds.", "##", "Data", "-", "**Rows:**", "15"),
        *("```python", "#", "[More", "Information", "Needed]", "<!--", "stays", "-->", "```"),
    ]
    assert card.complaint == ""
    assert card.note == "3 places of this card still say [More Information Needed] and are not shown."


def test_a_card_without_a_template_stays_as_it_is() -> None:
    text = "# Birds\n\n## Nothing yet\n\n## Data\n\nFifteen. <!-- that never ends\n"

    assert read_card(text.encode()).body == text


def test_bytes_that_are_no_text_are_survived() -> None:
    assert "\ufffd" in read_card(b"\xff\xfe# Body").body
