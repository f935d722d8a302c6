"""The builder of checkpoints: what would come of a choice is said before any work is asked for."""

import re
from pathlib import Path

import pytest
from django.test import Client
from playwright.sync_api import Browser, expect
from pytest_django.live_server_helper import LiveServer

from hub.adapters.models import Adapter, Commit
from hub.indexes import checkpoints, parts
from hub.indexes.models import IndexVersion
from hub.jobs.models import Job, JobKind
from tests.hub import making
from tests.pages.browser import CHROMIUM
from tests.pages.conftest import seen_by
from tests.pages.content import Content
from tests.pages.test_what_pages_say import text
from tests.pages.visiting import visit

BUILD = "/libraries/demo/checkpoints/new"


def licensed(name: str, licence: str) -> None:
    for commit in Commit.objects.filter(adapter__name=name):
        Commit.objects.filter(pk=commit.pk).update(card={**commit.card, "license": licence})


def test_a_checkpoint_is_asked_for_by_choosing(made: Content) -> None:
    said = {"version": "5", "kind": "adapter", "rank": "8", "experts": ["ada/haiku"]}

    page = text(seen_by(made.newcomer), f"{BUILD}?version=5&kind=adapter&rank=8&experts=ada/haiku")
    answer = seen_by(made.newcomer).post(BUILD, said, follow=True)

    assert "Experts 1 Size" in page
    assert answer.status_code == 200
    assert "rank 8" in answer.content.decode()
    assert "Waiting for a worker" in answer.content.decode()


def test_nothing_chosen_is_all_experts_routed_and_leads_to_what_is_there(made: Content) -> None:
    page = seen_by(made.newcomer).get(BUILD).content.decode()

    assert "It is there already." in page
    assert f'href="/checkpoints/{made.checkpoint.pk}"' in page


def test_weights_in_fewer_bits_are_estimated_asked_for_and_shown_as_such(made: Content) -> None:
    said = {"version": "5", "kind": "merged", "bits": "4"}
    whole = text(Client(), f"{BUILD}?version=5&kind=merged")
    page = text(Client(), f"{BUILD}?version=5&kind=merged&bits=4")

    answer = seen_by(made.newcomer).post(BUILD, said, follow=True)

    # 36 layers of 576 x 576 in half a byte with a scale for 64, and 8192 x 576 of the vocabulary as they were
    least, most = (36 * (576**2 // 2 + 576 * 9 * each + 16) + 8192 * 576 * each for each in (2, 4))
    assert f"Size {least / 1024**2:.1f} MiB to" in page
    assert f"Size {least / 1024**2:.1f} MiB to" not in whole
    assert most < 36 * 576**2 * 4
    shown = text(seen_by(made.newcomer), answer.redirect_chain[0][0])
    assert "Being composed 4 bits" in shown


def test_what_rounding_changed_is_said_on_the_page_and_in_the_api(made: Content) -> None:
    newest = IndexVersion.objects.get(library=made.library, number=5)
    asked = checkpoints.request_checkpoint(
        version=newest, kind="merged", requested_by=None, options={"bits": 4}
    )
    off = {"tokens": 512, "kl_mean": 0.0213, "kl_largest": 0.4, "same_likeliest": 0.971}
    rounding = {"bits": 4, "group": 64, "format": "compressed-tensors==0.20.0", "difference": off}
    rounding |= {"bytes": 3 * 1024**2, "unquantised_bytes": 8 * 1024**2}
    claim = making.take(JobKind.COMPOSE)

    checkpoints.record_checkpoint(claim, asked.pk, {}, rounding=rounding)
    page = text(Client(), f"/checkpoints/{asked.pk}")

    assert "have 4 bits, with one scale for 64 numbers of a row: 3.0 MiB instead of 8.0 MiB" in page
    assert "over 512 tokens" in page
    assert "off by 0.0213 nats on average, 0.4 at most" in page
    assert "the likeliest next token is the same in 97 % of the cases" in page
    assert "What rounding changed" not in text(Client(), f"/checkpoints/{made.checkpoint.pk}")
    said = [Client().get(f"/api/v1/checkpoints/{one.pk}").json() for one in (asked, made.checkpoint)]
    assert [one["rounding"] for one in said] == [rounding, None]


def test_bits_that_a_base_cannot_have_are_refused_with_why(made: Content) -> None:
    base = made.library.base_spec
    assert base is not None
    base["target_modules"][0]["d_in"] = 40
    made.library.save()

    page = text(Client(), f"{BUILD}?version=5&kind=merged&bits=4")

    assert "has 40 inputs, and 4 bits need a multiple of 32; take 8" in page


def test_looking_asks_for_no_work(made: Content) -> None:
    before = Job.objects.filter(kind=JobKind.COMPOSE).count()

    Client().get(f"{BUILD}?version=5&kind=merged&method=ties")

    assert Job.objects.filter(kind=JobKind.COMPOSE).count() == before


def test_a_wish_that_cannot_be_is_refused_with_why_and_keeps_what_was_chosen(made: Content) -> None:
    said = {"version": "5", "kind": "routed", "router": "phatgoose", "experts": ["ada/haiku"]}

    answer = seen_by(made.newcomer).post(BUILD, said)

    page = answer.content.decode()
    assert answer.status_code == 400
    assert "phatgoose routes by gates, and no expert of version 5 has any" in page
    assert re.search(r'value="ada/haiku"[^>]*checked', page)


def test_a_refusal_calls_options_as_the_form_does(made: Content) -> None:
    merged = f"{BUILD}?version=5&kind=merged&experts=ada/haiku&density=0.3"
    policy = f"{BUILD}?version=5&kind=routed&router=classifier"

    assert "Density belongs to Magnitude, TIES, DARE, DARE with TIES, not to Mean" in text(Client(), merged)
    assert "Weights are missing; expected one for each expert" in text(Client(), f"{merged}&method=weighted")
    assert "Router: no classifier of prompts was trained for version 5" in text(Client(), policy)


def test_a_version_s_experts_are_read_once(made: Content, monkeypatch: pytest.MonkeyPatch) -> None:
    reads, read = [], parts.parts

    def counted(version: IndexVersion) -> list[parts.Part]:
        reads.append(version)
        return read(version)

    for module in (parts, checkpoints):
        monkeypatch.setattr(module, "parts", counted)

    Client().get(f"{BUILD}?version=5&kind=merged&method=ties")

    assert len(reads) == 1


def test_another_router_of_a_routed_checkpoint_is_kept_with_it(made: Content) -> None:
    said = {"version": "5", "kind": "routed", "router": "spectral", "top_k": "2", "shortlist": "0"}

    answer = seen_by(made.newcomer).post(BUILD, said, follow=True)

    assert "router spectral top 2 no short list" in text(seen_by(made.newcomer), answer.redirect_chain[0][0])


def test_the_size_of_an_adapter_follows_from_the_shapes_of_the_base(made: Content) -> None:
    page = text(Client(), f"{BUILD}?version=5&kind=adapter&rank=16&experts=ada/haiku")

    # q_proj and v_proj at 12 layers, (576 + 576) x 16 numbers of 4 bytes each, and 2 % besides
    assert f"{24 * 1152 * 16 * 4 * 1.02 / 1024**2:.1f} MiB" in page


@pytest.mark.parametrize(
    ("licences", "warning"),
    [
        (
            {"haiku": "cc-by-nc-4.0"},
            "1 expert (cc-by-nc-4.0): not for commercial use, and so neither is the whole",
        ),
        ({"haiku": "cc-by-nc-4.0", "recipes": "gpl-3.0"}, "Those two do not go together"),
        ({"haiku": "cc-by-nd-4.0"}, "a merge is a change of every part"),
        ({"haiku": "llama3"}, "1 expert (llama3): their terms of use go with the whole"),
        ({"haiku": ""}, "2 experts without a licence: nobody said what may be done with it"),
    ],
    ids=lambda said: "-".join(said) if isinstance(said, dict) else "",
)
def test_licences_that_do_not_go_together_are_said_plainly(
    made: Content, licences: dict[str, str], warning: str
) -> None:
    for name, licence in licences.items():
        licensed(name, licence)

    assert warning in text(Client(), f"{BUILD}?version=5&kind=merged")


def test_licences_of_which_none_asks_for_much_are_said_to_be_fine(made: Content) -> None:
    page = text(Client(), f"{BUILD}?version=5&kind=merged&experts=ada/haiku&experts=bob/poetry")

    assert "No conflict between these licences was found" in page


def test_a_gated_expert_is_left_out_and_named(made: Content) -> None:
    Adapter.objects.filter(name="haiku").update(gating="manual")

    page = text(Client(), f"{BUILD}?version=5&kind=merged")

    assert "Left out, because their owners decide who has the files: ada/haiku" in page


def test_a_checkpoint_s_own_page_says_its_licences(made: Content) -> None:
    assert "apache-2.0 8" in text(Client(), f"/checkpoints/{made.checkpoint.pk}")


@pytest.mark.browser
@pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"no Chromium at {CHROMIUM}")
def test_what_would_come_of_it_follows_each_choice(
    made: Content, browser: Browser, live_server: LiveServer
) -> None:
    watched = visit(browser, live_server, made.newcomer)
    page = watched.open(BUILD)
    review = page.locator("[data-part=review]")

    page.get_by_label("One adapter").check()
    page.get_by_label("bob/poetry").check()

    expect(review.locator("dd").first).to_have_text("1")
    expect(page.get_by_label("Router")).to_be_hidden()
    expect(page.get_by_role("button", name="See what would come of it")).to_be_hidden()
    assert "kind=adapter" in page.url
    page.get_by_role("button", name="Compose").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Adapter checkpoint of version 5")
    assert watched.suspicious == []
