"""What each page tells: the facts are there, in words, for every state."""

import html
import re

import pytest
from django.test import Client
from django.utils import timezone

from hub.accounts import services as accounts
from hub.accounts.models import ApiToken, User
from hub.adapters import services as adapters
from hub.adapters.models import Release
from hub.indexes import checkpoints
from hub.indexes import services as indexes
from hub.indexes.models import PromptClassifier
from hub.jobs import services as jobs
from hub.jobs.models import Job, JobKind, Queue
from hub.library.models import Library
from hub.pages.pipeline import course_of
from tests.hub import making
from tests.pages import content
from tests.pages.conftest import seen_by
from tests.pages.content import Content
from tests.pages.learnt import add_what_is_learnt


@pytest.fixture
def ada(db: None) -> User:
    return making.user("ada")


@pytest.fixture
def library(ada: User) -> Library:
    return content.found_library(maintainer=making.user("cleo"))


def text(client: Client, path: str) -> str:
    """A page's words, without its tags."""
    answer = client.get(path)
    assert answer.status_code == 200, path
    return " ".join(re.sub(r"<[^>]+>", " ", answer.content.decode()).split())


def states(release: Release) -> list[str]:
    fresh = Release.objects.select_related("adapter__library__current").get(pk=release.pk)
    return [step.state for step in course_of(fresh).steps]


def test_an_empty_hub_tells_the_operator_what_to_type(db: None) -> None:
    assert "python manage.py create_library" in text(Client(), "/")


def test_an_empty_library_invites_the_first_adapter(library: Library) -> None:
    page = text(Client(), f"/libraries/{library.slug}")

    assert "No adapter yet" in page
    assert "serves nothing yet" in page


def test_downloads_stand_beside_what_they_mean(made: Content) -> None:
    meaning = "fetched a release's weights, each counted once a day"
    adapter, owner = made.ready.adapter, made.ready.adapter.owner

    page = html.unescape(text(Client(), f"/{adapter.full_name}"))
    lists = [
        html.unescape(text(Client(), path))
        for path in (f"/libraries/{made.library.slug}", f"/{owner.username}")
    ]

    assert "1,234 in the last 30 days, 56,789 in all" in page
    assert meaning in page
    assert all("1,234 downloads" in said and meaning in said for said in lists)


def test_a_library_says_how_to_ask_it_and_what_is_in_it(made: Content) -> None:
    page = text(Client(), f"/libraries/{made.library.slug}")

    assert "http://127.0.0.1:8081/v1" in page
    assert "LlamaForCausalLM" in page
    assert "2,048 tokens" in page
    assert "bob/ poetry Served" in page
    assert "ada/ wrong-width Rejected" in page


def test_a_library_whose_base_failed_says_so(ada: User, library: Library) -> None:
    Library.objects.update(status=Library.Status.FAILED)

    assert "could not be read" in text(Client(), f"/libraries/{library.slug}")


def test_a_report_names_file_field_found_expected_and_fix(made: Content) -> None:
    page = text(Client(), f"/{made.rejected.adapter.full_name}")

    for finding in content.FINDINGS:
        for part in (finding["file"], finding["field"], finding["found"].split(",")[0], finding["fix"][:30]):
            assert " ".join(part.replace("'", "&#x27;").replace("`", " ").split()) in page
    assert "2 errors, 1 warning" in page


def test_an_expert_page_has_charts_that_a_screen_reader_can_name(made: Content) -> None:
    html = Client().get(f"/{made.ready.adapter.full_name}").content.decode()

    assert '<div class="plot" role="img" aria-labelledby="spectrum" dir="ltr">' in html
    assert 'role="img" aria-labelledby="norms"' in html
    assert "layer 0, mlp.down_proj" in html
    assert "style=" not in html


def test_files_have_their_digests_and_links(made: Content) -> None:
    html = Client().get(f"/{made.ready.adapter.full_name}").content.decode()

    for file in made.ready.commit.files.all():
        assert file.blob_id in html
        assert f"/{made.ready.adapter.full_name}/resolve/{made.ready.oid}/{file.path}" in html


def test_a_download_link_of_a_page_works(made: Content) -> None:
    answer = Client().get(f"/{made.ready.adapter.full_name}/resolve/{made.ready.oid}/adapter_config.json")

    assert answer.status_code == 200


def test_a_quarantined_release_says_why_and_offers_no_download(made: Content) -> None:
    html = Client().get(f"/{made.quarantined.adapter.full_name}").content.decode()

    assert "Held back by a maintainer" in html
    assert "forbids this use" in html
    assert "/resolve/" not in html


def test_the_way_of_a_release_step_by_step(ada: User, library: Library) -> None:
    release = making.upload(ada, library)
    assert states(release) == ["done", "waiting", "waiting", "waiting", "waiting"]

    claim = making.take(JobKind.VALIDATE)
    jobs.report_progress(claim, 3, 9, "tensors")
    assert states(release) == ["done", "running", "waiting", "waiting", "waiting"]

    adapters.record_report(claim, release.pk, [], {})
    jobs.finish(claim)
    assert states(release) == ["done", "done", "waiting", "waiting", "waiting"]

    content.compute(release, content.statistics(1))
    assert states(release) == ["done", "done", "done", "waiting", "waiting"]

    making.publish(library)
    assert states(release) == ["done"] * 5


def test_a_rejected_release_stops_at_the_checks_and_is_settled(ada: User, library: Library) -> None:
    release = making.upload(ada, library)
    content.judge(release, content.FINDINGS)

    course = course_of(release)

    assert [step.state for step in course.steps][:2] == ["done", "stopped"]
    assert course.settled


def test_a_step_that_we_failed_is_not_blamed_on_the_contributor(ada: User, library: Library) -> None:
    release = making.upload(ada, library)
    jobs.fail(making.take(JobKind.VALIDATE), "the disk is gone")

    course = course_of(release)

    assert course.steps[1].state == "stopped"
    assert "operator" in course.steps[1].note
    assert "disk" not in course.steps[1].note


def test_a_release_that_another_replaced_is_no_longer_served(ada: User, library: Library) -> None:
    first = content.ready(ada, library, "poetry")
    making.publish(library)
    content.ready(ada, library, "poetry", message="better")
    making.publish(library)

    fresh = Release.objects.select_related("adapter__library__current").get(pk=first.pk)

    assert course_of(fresh).steps[-1].name == "No longer served"


def test_after_a_rollback_the_newer_release_waits_for_a_person(ada: User, library: Library) -> None:
    content.ready(ada, library, "poetry")
    making.publish(library)
    second = content.ready(ada, library, "haiku")
    making.publish(library)
    indexes.roll_back(library=library, by=library.maintainer, reason="worse")

    fresh = Release.objects.select_related("adapter__library__current").get(pk=second.pk)
    last = course_of(fresh).steps[-1]

    assert last.state == "waiting"
    assert "version 1 is served" in last.note


def test_versions_show_what_came_what_changed_and_who_promoted(made: Content) -> None:
    indexes.promote(library=made.library, number=1, by=made.maintainer, reason="Calm before the storm")

    page = text(Client(), f"/libraries/{made.library.slug}/versions")

    assert re.search(r"changed: bob/poetry release 1 → 2", page)
    assert re.search(r"in: ada/haiku release 1", page)
    assert re.search(r"out: bob/borrowed-weights", page)
    assert "Promoted by cleo" in page
    assert "Calm before the storm" in page


def test_a_version_says_how_good_its_classifier_of_prompts_is(made: Content) -> None:
    version = made.library.versions.latest("number")
    report = {"classes": 7, "accuracy": 0.96875, "calibration_error": 0.0412}
    PromptClassifier.objects.create(version=version, digest="c" * 64, size=10, report=report)

    page = text(Client(), f"/libraries/{made.library.slug}/versions")

    assert "knows 7 experts and named the right one for a share of 0.969" in page
    assert "calibration error 0.0412" in page


def test_what_was_learnt_is_on_the_pages_of_library_versions_and_adapter(made: Content) -> None:
    add_what_is_learnt(made)

    library = text(Client(), f"/libraries/{made.library.slug}")
    versions = text(Client(), f"/libraries/{made.library.slug}/versions")
    adapter = text(Client(), f"/{made.ready.adapter.full_name}")

    assert "Prompts are read by small-sentences" in library
    assert "form 3 clusters" in library
    assert "knows 7 experts and named the right one for a share of 0.966" in versions
    assert "with new gates" in versions
    assert "introduced anew" in versions
    assert "Trained on 40 sample rows of the contributor" in adapter
    assert "Gates that are not in use" in adapter
    assert "cosine 0.7312" in adapter


def test_the_upload_page_says_what_becomes_of_sample_prompts(made: Content) -> None:
    path, visitor = f"/libraries/{made.library.slug}/upload", seen_by(made.contributor)
    assert "publishes an embedding of each prompt" not in text(visitor, path)

    Library.objects.filter(pk=made.library.pk).update(embed_samples=True)

    assert "publishes an embedding of each prompt" in text(visitor, path)


def test_the_upload_page_says_how_to_do_it_from_a_terminal(made: Content) -> None:
    slug = made.library.slug

    page = text(seen_by(made.contributor), f"/libraries/{slug}/upload")

    assert "fletch login --hub http://testserver" in page
    assert f"fletch upload adapter/ --library {slug} --follow" in page


def test_only_maintainers_are_offered_a_promotion(made: Content) -> None:
    path = f"/libraries/{made.library.slug}/versions"

    assert "Roll back to" in text(seen_by(made.maintainer), path)
    assert "Roll back to" not in text(seen_by(made.contributor), path)


def test_promoting_needs_a_reason(made: Content) -> None:
    answer = seen_by(made.maintainer).post(
        f"/libraries/{made.library.slug}/versions/promote", {"number": 1, "reason": ""}
    )

    assert answer.status_code == 400
    assert "a reason" in answer.content.decode()


def test_promotion_by_a_maintainer_moves_what_is_served(made: Content) -> None:
    seen_by(made.maintainer).post(
        f"/libraries/{made.library.slug}/versions/promote", {"number": 1, "reason": "calm"}
    )

    made.library.refresh_from_db()
    assert made.library.current is not None
    assert made.library.current.number == 1


def test_a_ready_checkpoint_says_its_digest_and_how_to_load_it(made: Content) -> None:
    page = text(Client(), f"/checkpoints/{made.checkpoint.pk}")

    assert made.checkpoint.archive_digest in page
    assert "from routing import load_checkpoint" in page
    assert f"/checkpoints/{made.checkpoint.pk}/download" in page


def test_why_a_checkpoint_failed_is_told_to_the_maintainer_only(made: Content) -> None:
    wish = checkpoints.request_checkpoint(
        version=made.checkpoint.version, kind="adapter", requested_by=made.contributor, options={"rank": 3}
    )
    job = Job.objects.filter(kind=JobKind.COMPOSE).latest("pk")
    claim = jobs.claim(queues=Queue.values, job_id=job.pk)
    assert claim is not None
    jobs.fail(claim, "OSError: '/srv/data/tmp/work-1' is gone")

    assert "/srv/data" not in text(seen_by(made.contributor), f"/checkpoints/{wish.pk}")
    assert "/srv/data" in text(seen_by(made.maintainer), f"/checkpoints/{wish.pk}")


def test_a_checkpoint_download_works(made: Content) -> None:
    assert Client().get(f"/checkpoints/{made.checkpoint.pk}/download").status_code == 200


def test_a_token_is_shown_once_and_works_until_it_is_revoked(ada: User) -> None:
    client = seen_by(ada)

    page = client.post(
        "/settings/tokens", {"name": "laptop", "scopes": ["read"], "lifetime": "30"}
    ).content.decode()
    found = re.search(r"hf_[0-9a-f]{64}", page)
    assert found is not None
    assert accounts.authenticate(found[0]).user == ada
    assert found[0] not in client.get("/settings/tokens").content.decode()

    token = ApiToken.objects.get()
    assert token.expires_at is not None
    assert (token.expires_at - timezone.now()).days in {29, 30}
    client.post(f"/settings/tokens/{token.pk}/revoke")
    token.refresh_from_db()
    assert token.revoked_at is not None


def test_the_answer_with_a_secret_is_kept_by_no_cache(ada: User) -> None:
    answer = seen_by(ada).post("/settings/tokens", {"name": "laptop", "scopes": ["read"], "lifetime": ""})

    assert "no-store" in answer["Cache-Control"]


def test_a_token_form_without_scopes_is_sent_back(ada: User) -> None:
    page = seen_by(ada).post("/settings/tokens", {"name": "laptop", "lifetime": "30"}).content.decode()

    assert "This field is required" in page
    assert not ApiToken.objects.exists()


def test_every_page_has_a_title_of_its_own_a_language_and_one_heading(made: Content) -> None:
    paths = [
        "/",
        f"/libraries/{made.library.slug}",
        f"/{made.ready.adapter.full_name}",
        f"/libraries/{made.library.slug}/versions",
        f"/libraries/{made.library.slug}/checkpoints",
        f"/libraries/{made.library.slug}/checkpoints/new",
        f"/checkpoints/{made.checkpoint.pk}",
        "/ada",
        "/settings/tokens",
        "/accounts/password/change/",
        f"/libraries/{made.library.slug}/upload",
        f"/{made.ready.adapter.full_name}/releases/{made.ready.oid}",
    ]
    pages = [seen_by(made.contributor).get(path).content.decode() for path in paths]

    titles = [re.search(r"<title>([^<]+)</title>", page) for page in pages]
    assert len({title[1] for title in titles if title}) == len(paths)
    assert all(page.count("<h1") == 1 for page in pages)
    assert all('<html lang="en">' in page for page in pages)


def test_where_a_base_lies_on_the_workers_is_said_nowhere(db: None) -> None:
    made = content.typical()
    checkpoint = made.library.versions.latest("number").checkpoints.latest("pk")
    place = f"/{made.ready.adapter.full_name}"
    release = f"{place}/releases/{made.ready.oid}"

    for path in ("/", f"/libraries/{made.library.slug}", place, release, f"/checkpoints/{checkpoint.pk}"):
        page = seen_by(made.maintainer).get(path).content.decode()
        assert "demo-base" in page, path
        assert "/srv/bases" not in page, path
    assert "path/to/demo-base" in seen_by(made.maintainer).get(place).content.decode()
