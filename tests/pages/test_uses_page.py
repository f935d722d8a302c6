"""How much an expert is used, on its page: shares of what serving processes reported."""

import html
import re
from datetime import timedelta

from django.test import Client
from django.utils import timezone

from hub.accounts.models import User
from hub.evaluations import services as evaluations
from hub.evaluations.schemas import EvaluationIn
from hub.indexes.models import IndexVersion
from hub.uses import services as uses
from hub.uses.models import DayOfUse
from hub.uses.schemas import ReportIn
from tests.hub import making
from tests.pages import content
from tests.pages.content import Content
from tests.pages.learnt import add_what_is_learnt


def words(path: str) -> str:
    answer = Client().get(path)
    assert answer.status_code == 200
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", answer.content.decode()).split()))


def reported(version: IndexVersion, number: int, hits: dict[str, list[int]]) -> None:
    uses.record(
        ReportIn(
            format=1,
            instance="0a" * 16,
            number=number,
            day=timezone.now().date(),
            library=version.library.slug,
            version=version.number,
            manifest=version.manifest,
            modules=["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj"],
            tokens=[100, 100],
            hits=hits,
        )
    )


def test_shares_are_of_all_tokens_by_layer_and_by_day(db: None) -> None:
    ada, library = making.user("ada"), content.found_library()
    content.ready(ada, library, "haiku")
    version = making.publish(library)
    assert "No token has chosen it yet" in words("/ada/haiku")

    reported(version, 1, {"ada/haiku": [50, 0]})
    DayOfUse.objects.update(day=timezone.now().date() - timedelta(days=1))
    reported(version, 2, {"ada/haiku": [10, 0]})
    page = words("/ada/haiku")

    assert "Share of tokens, last 30 days 15 %" in page
    assert "layer 0, self_attn.q_proj: 30 %" in page
    assert "layer 1, self_attn.q_proj: 0 %" in page
    assert page.count("share of tokens, ") >= 2
    assert re.search(r"share of tokens, \d+ \w+: 25 %.*share of tokens, \d+ \w+: 5 %", page)
    assert "a token may choose several experts, or none" in page


def evaluated(version: IndexVersion, by: User, policy: float) -> None:
    rows = [
        {"variant": name, "kind": kind, "members": {"all": mean}, "mean": mean, "above_base": mean - 0.4}
        | {"low": mean - 0.45, "high": mean - 0.35}
        for name, kind, mean in (("base", "base", 0.4), ("policy", "policy", policy))
    ]
    document = {
        "suite": "demo",
        "about": {"manifest": version.manifest, "harness": "lm-eval"},
        "members": {"all": {"metric": "acc", "questions": 50, "held_out": True}},
        "rows": rows,
    }
    evaluations.record(version=version, by=by, said=EvaluationIn.model_validate(document))


def test_what_a_library_gained_is_said_with_what_else_changed(db: None) -> None:
    ada, cleo = making.user("ada"), making.user("cleo")
    library = content.found_library(maintainer=cleo)
    content.ready(ada, library, "haiku")
    evaluated(making.publish(library), cleo, 0.5)
    assert "versions 0 and 1" not in words("/ada/haiku")
    for name in ("chess", "poetry"):
        content.ready(ada, library, name)
    version = making.publish(library)
    assert "when versions 1 and 2 are evaluated" in words("/ada/chess")

    evaluated(version, cleo, 0.625)
    page = words("/ada/chess")

    assert "demo 0.5 0.625 +0.125" in page
    assert "1 other adapter changed with the same version" in page


def test_cards_link_adapters_to_what_they_were_made_from(db: None) -> None:
    ada, library = making.user("ada"), content.found_library()
    content.ready(ada, library, "haiku")
    content.ready(ada, library, "haiku-mended", card="---\nbase_model: ada/haiku\n---\n# Mended\n")
    hidden = "---\nbase_model: ada/haiku\n---\n# Mine\n"
    making.upload(ada, library, "secret", content.files("secret", hidden), private=True)

    assert "Made from ada/haiku" in words("/ada/haiku-mended")
    assert "Made from it ada/haiku-mended" in words("/ada/haiku")
    assert "secret" not in words("/ada/haiku")


def test_everything_that_is_learnt_of_an_expert_is_on_its_page(made: Content) -> None:
    add_what_is_learnt(made)

    page = words(f"/{made.ready.adapter.full_name}")

    assert "Where it is chosen" in page
    assert "Day by day" in page
    assert "This expert alone" in page
    assert "nats per token, step by step" in page.lower()
