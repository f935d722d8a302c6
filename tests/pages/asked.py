"""Questions beside an evaluation, invented as all content of the pages: short, long, hostile, right to left."""

from collections.abc import Iterator
from typing import Any

from tests.pages.content import HOSTILE, Content

TERMS = "made for these pages"
LAYERS = [0, 1, 2, 3, 4, 5]
EXAMPLE = "Q: Which of these is the oldest?\n(A) the mill\n(B) the bridge\nA: (B)\n\n"
PROMPTS = (
    ("Q: Name the capital of Norvia.\nA:", " Tessin", " Capitals?"),
    (EXAMPLE * 30 + "Q: Which came last?\nA:", " (A)", " (B)"),
    (f"Repeat: {HOSTILE}\n", HOSTILE, "&lt;" + "x" * 300),
    (
        "\u0645\u0627 \u0639\u0627\u0635\u0645\u0629 \u0646\u0648\u0631\u0641\u064a\u0627\u061f",
        "\u062a\u064a\u0633\u064a\u0646",
        "?",
    ),
    *((f"Q: {one} and {one} are?\nA:", f" {2 * one}", f" {one}") for one in range(8)),
)


def questions(made: Content) -> dict[str, Any]:
    """Of the member `all`: the base is always wrong, `retrieval` always right, the rest at every other one."""
    return {"terms": TERMS, "layers": LAYERS, "members": {"all": list(_questions(made))}}


def _questions(made: Content) -> Iterator[dict[str, Any]]:
    long, ready = made.long.adapter.full_name, made.ready.adapter.full_name
    for place, (prompt, expected, wrong) in enumerate(PROMPTS):
        right = place % 2 == 0
        spoke = {"shares": {ready: 0.61, long: 0.303}, "by_layer": {ready: [0.9, 0.8, 0.6, 0.5, 0.4, 0.2]}}
        answers = [
            _answer("base", wrong, right=False),
            _answer("library's policy", expected if right else wrong, right=right, **spoke),
            _answer("retrieval", expected, right=True, shares={ready: 1.0}),
            {
                **_answer("arrow", expected, right=None, **spoke),
                "score": 0.62,
                "taken": expected.strip()[:20],
            },
            _answer(long, "" if right else wrong, right=False, shares={long: 1.0}),
        ]
        yield {
            "task": "all",
            "question": str(place),
            "differs": right,
            "metric": "acc",
            "prompt": prompt,
            "expected": expected,
            "answers": answers,
        }


def _answer(variant: str, text: str, *, right: bool | None, **spoke: Any) -> dict[str, Any]:
    return {"variant": variant, "score": float(bool(right)), "right": right, "text": text, **spoke}
