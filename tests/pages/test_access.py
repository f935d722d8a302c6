"""Every address of the pages, for every kind of visitor: who sees what, and what must not even be known."""

from django.db import transaction

from hub.accounts.models import User
from hub.jobs.models import Job
from hub.notifications import queries
from hub.pages import social_urls
from hub.pages.urls import urlpatterns
from tests.pages.conftest import seen_by
from tests.pages.content import Content

VISITORS = ("anonymous", "stranger", "owner", "maintainer", "staff")
OPEN = {"anonymous": 200, "stranger": 200, "owner": 200, "maintainer": 200, "staff": 200}
SIGNED_IN = {**OPEN, "anonymous": 302}
LED = dict.fromkeys(VISITORS, 302)  # from a part of a page to the page
OWNER_ONLY = {"anonymous": 404, "stranger": 404, "owner": 200, "maintainer": 404, "staff": 200}
MAINTAINERS_ONLY = {"anonymous": 404, "stranger": 404, "owner": 404, "maintainer": 200, "staff": 200}
NOT_STAFF = {"anonymous": 302, "stranger": 403, "owner": 403, "maintainer": 403}
STAFF = {**NOT_STAFF, "staff": 200}
DESK = {**STAFF, "maintainer": 200}
POST_DESK = {"anonymous": 302, "stranger": 404, "owner": 404, "maintainer": 302, "staff": 302}
MENDS = {"anonymous": 302, "stranger": 403, "owner": 200, "maintainer": 403, "staff": 403}
POST_OWNER = {"anonymous": 302, "stranger": 403, "owner": 302, "maintainer": 403, "staff": 403}
POST_MAINTAINER = {"anonymous": 302, "stranger": 403, "owner": 403, "maintainer": 302, "staff": 302}


def visitor(made: Content, kind: str) -> User | None:
    people = {
        "stranger": made.newcomer,
        "owner": made.contributor,
        "maintainer": made.maintainer,
        "staff": made.staff,
    }
    return people.get(kind)


def only_sent(made: Content) -> dict[str, str]:
    """Addresses of forms that are on other pages."""
    adapter = f"/{made.ready.adapter.full_name}"
    release = f"{adapter}/releases/{made.ready.oid}"
    return {
        "promote": f"/libraries/{made.library.slug}/versions/promote",
        "delete_questions": f"/libraries/{made.library.slug}/evaluations/99/questions/delete",
        "revoke_token": "/settings/tokens/1/revoke",
        "access": f"{adapter}/access/ask",
        "desk_release": f"/desk/releases/{made.held.pk}",
        "desk_gates": "/desk/gates/1",
        "desk_library": f"/desk/libraries/{made.library.slug}",
        "desk_report": f"/desk/reports/{made.report.pk}",
        "like": f"{adapter}/like",
        "notifications_read": "/notifications/read",
        "export_checkpoint": f"/checkpoints/{made.checkpoint.pk}/export",
        "export_release": f"{release}/export",
        "upload_card": "/upload/card",
        **{name: f"{release}/{name}" for name in ("yank", "quarantine", "restore", "share")},
    }


def staff_only() -> dict[str, str]:
    return {"desk_people": "/desk/people", "desk_jobs": "/desk/jobs?state=failed"}


def for_everybody(made: Content) -> dict[str, tuple[str, dict[str, int]]]:
    """What is open to all, and what programs follow."""
    slug, release = made.library.slug, f"/{made.ready.adapter.full_name}/releases/{made.ready.oid}"
    paths = {
        "build": f"/libraries/{slug}/checkpoints/new",
        "django.contrib.sitemaps.views.sitemap": "/sitemap-libraries.xml",
        "evaluations": f"/libraries/{slug}/evaluations",
        "feed": "/feed",
        "library_feed": f"/libraries/{slug}/feed",
        "play": f"/libraries/{slug}/play",
        "release_changes": f"{release}/changes",
        "robots": "/robots.txt",
        "sitemap": "/sitemap.xml",
        "status": "/status",
    }
    return {name: (path, OPEN) for name, path in paths.items()}


def reading(made: Content) -> dict[str, tuple[str, dict[str, int]]]:
    """Name of the address -> an example of it, and the status for each visitor."""
    slug, ready, private = made.library.slug, made.ready, made.private
    sent_only = {**dict.fromkeys(VISITORS, 405), "anonymous": 302}
    return {
        **{name: (path, sent_only) for name, path in only_sent(made).items()},
        **uploading(),
        **of_a_release(made),
        **of_a_library(slug),
        **for_programs(slug),
        "browse": ("/adapters?q=a", OPEN),
        "home": ("/", OPEN),
        "library": (f"/libraries/{slug}", OPEN),
        "upload": (f"/libraries/{slug}/upload", SIGNED_IN),
        "versions": (f"/libraries/{slug}/versions", OPEN),
        "decisions": (f"/libraries/{slug}/decisions", OPEN),
        "map": (f"/libraries/{slug}/map", OPEN),
        "checkpoints": (f"/libraries/{slug}/checkpoints", OPEN),
        "checkpoint": (f"/checkpoints/{made.checkpoint.pk}", OPEN),
        "composing": (f"/checkpoints/{made.composing.pk}/composing", LED),
        "tokens": ("/settings/tokens", SIGNED_IN),
        "device": ("/settings/device", SIGNED_IN),
        "desk": ("/desk", DESK),
        "desk_reports": ("/desk/reports", DESK),
        **{name: (path, STAFF) for name, path in staff_only().items()},
        "desk_quota": ("/desk/people/ada", {**sent_only, **NOT_STAFF}),
        "desk_retry": ("/desk/jobs/1/retry", {**sent_only, **NOT_STAFF}),
        "report": (f"/{ready.adapter.full_name}/report", SIGNED_IN),
        "report, private": (f"/{private.adapter.full_name}/report", {**OWNER_ONLY, "anonymous": 302}),
        **for_everybody(made),
        "play_ask": (f"/libraries/{slug}/play/a", dict.fromkeys(VISITORS, 405)),
        "organisations": ("/settings/organisations", SIGNED_IN),
        "organisation": ("/settings/organisations/rhymes", {**SIGNED_IN, "stranger": 403, "staff": 403}),
        "organisation_act": ("/settings/organisations/rhymes/leave", sent_only),
        "notification_settings": ("/settings/notifications", SIGNED_IN),
        "notifications": ("/notifications?show=unread", SIGNED_IN),
        "notification": (
            f"/notifications/{queries.shown(made.contributor).values_list('pk', flat=True)[0]}",
            {**dict.fromkeys(VISITORS, 404), "anonymous": 302, "owner": 302},
        ),
        "profile": ("/ada", OPEN),
        "adapter": (f"/{ready.adapter.full_name}", OPEN),
        "export": (f"/exports/{made.export.pk}", {**OWNER_ONLY, "staff": 404}),
        "export, of a checkpoint": (f"/exports/{made.export.pk - 1}", MAINTAINERS_ONLY),
        "adapter, private": (f"/{private.adapter.full_name}", OWNER_ONLY),
        "profile, unknown": ("/nobody", dict.fromkeys(VISITORS, 404)),
        "library, unknown": ("/libraries/nothing", dict.fromkeys(VISITORS, 404)),
        "versions, unknown": ("/libraries/nothing/versions", dict.fromkeys(VISITORS, 404)),
        "adapter, unknown": ("/ada/nothing", dict.fromkeys(VISITORS, 404)),
        "release, unknown": (f"/{ready.adapter.full_name}/releases/{'0' * 40}", dict.fromkeys(VISITORS, 404)),
        "release, of another adapter": (
            f"/{ready.adapter.full_name}/releases/{private.oid}",
            dict.fromkeys(VISITORS, 404),
        ),
        "checkpoint, unknown": ("/checkpoints/99999", dict.fromkeys(VISITORS, 404)),
        "admin": ("/admin/", {**dict.fromkeys(VISITORS, 302), "staff": 200}),
    }


def of_a_release(made: Content) -> dict[str, tuple[str, dict[str, int]]]:
    """The pages of one release, for everybody and for whoever may know of it."""
    ready = f"/{made.ready.adapter.full_name}/releases/{made.ready.oid}"
    private = f"/{made.private.adapter.full_name}/releases/{made.private.oid}"
    return {
        "release": (ready, OPEN),
        "course": (f"{ready}/course", LED),
        "release_file": (f"{ready}/files/README.md", OPEN),
        "mend": (f"{ready}/mend", MENDS),
        "release, private": (private, OWNER_ONLY),
        "course, private": (f"{private}/course", {**OWNER_ONLY, "owner": 302, "staff": 302}),
        "changes, private": (f"{private}/changes", OWNER_ONLY),
        "mend, private": (f"{private}/mend", {**MENDS, "stranger": 404, "maintainer": 404}),
    }


def of_a_library(slug: str) -> dict[str, tuple[str, dict[str, int]]]:
    """Asking its model, what was measured of it, and choosing what a checkpoint is to hold."""
    return {
        "play": (f"/libraries/{slug}/play", OPEN),
        "play_ask": (f"/libraries/{slug}/play/a", dict.fromkeys(VISITORS, 405)),
        "speakers": (f"/libraries/{slug}/speakers", OPEN),
        "build": (f"/libraries/{slug}/checkpoints/new", OPEN),
        "evaluations": (f"/libraries/{slug}/evaluations", OPEN),
        "evaluation": (f"/libraries/{slug}/evaluations/99", dict.fromkeys(VISITORS, 404)),
        "questions": (f"/libraries/{slug}/evaluations/99/questions", dict.fromkeys(VISITORS, 404)),
        "contributions": (f"/libraries/{slug}/versions/1/contributions", OPEN),
        "measuring": (
            f"/libraries/{slug}/versions/1/contributions/99/progress",
            dict.fromkeys(VISITORS, 404),
        ),
        "ablation_act": (
            f"/libraries/{slug}/versions/1/contributions/99",
            {**dict.fromkeys(VISITORS, 405), "anonymous": 302},
        ),
    }


def for_programs(slug: str) -> dict[str, tuple[str, dict[str, int]]]:
    """What feed readers, search engines and monitors fetch, who are nobody in particular."""
    return {
        "status": ("/status", OPEN),
        "feed": ("/feed", OPEN),
        "library_feed": (f"/libraries/{slug}/feed", OPEN),
        "robots": ("/robots.txt", OPEN),
        "sitemap": ("/sitemap.xml", OPEN),
        "django.contrib.sitemaps.views.sitemap": ("/sitemap-nothing.xml", dict.fromkeys(VISITORS, 404)),
    }


def uploading() -> dict[str, tuple[str, dict[str, int]]]:
    """The upload page, and what its script asks: that is told who it is, and not led to the sign-in."""
    asked = dict.fromkeys(VISITORS, 405)
    return {
        "upload_start": ("/upload", {**dict.fromkeys(VISITORS, 302)}),
        "upload_begin": ("/upload/begin", asked),
        "upload_finish": ("/upload/finish", asked),
        "upload_forget": ("/upload/unfinished/poetry/forget", asked),
        "upload_piece": (f"/upload/pieces/{'0' * 64}", {**SIGNED_IN, "anonymous": 401}),
    }


def writing(made: Content) -> dict[str, tuple[str, dict[str, str], dict[str, int]]]:
    """The same for what changes something; each is asked of fresh content."""
    release = f"/{made.ready.adapter.full_name}/releases/{made.ready.oid}"
    held = f"/{made.quarantined.adapter.full_name}/releases/{made.quarantined.oid}"
    reason = {"reason": "because"}
    return {
        "promote": (
            f"/libraries/{made.library.slug}/versions/promote",
            {**reason, "number": "1"},
            POST_MAINTAINER,
        ),
        "contributions": (
            f"/libraries/{made.library.slug}/versions/1/contributions",
            {},
            {"anonymous": 401, "stranger": 403, "owner": 403, "maintainer": 400, "staff": 400},
        ),
        "ablation_act": (
            f"/libraries/{made.library.slug}/versions/1/contributions/99",
            {"do": "cancel"},
            {**dict.fromkeys(VISITORS, 404), "anonymous": 302},
        ),
        "yank": (f"{release}/yank", reason, POST_OWNER),
        "quarantine": (f"{release}/quarantine", reason, POST_MAINTAINER),
        "share": (f"{release}/share", {"shared": "no"}, POST_OWNER),
        "export_release": (f"{release}/export", {}, POST_OWNER),
        "export_checkpoint": (f"/checkpoints/{made.checkpoint.pk}/export", {}, POST_MAINTAINER),
        "desk_release": (f"/desk/releases/{made.held.pk}", {**reason, "decision": "let-in"}, POST_DESK),
        "desk_library": (f"/desk/libraries/{made.library.slug}", {"review": "yes"}, POST_MAINTAINER),
        "desk_report": (f"/desk/reports/{made.report.pk}", {"note": "gone"}, POST_DESK),
        "desk_quota": ("/desk/people/ada", {"gib": "1"}, {**NOT_STAFF, "staff": 302}),
        "desk_retry": (f"/desk/jobs/{Job.objects.earliest('pk').pk}/retry", {}, {**NOT_STAFF, "staff": 302}),
        "restore": (f"{held}/restore", reason, POST_MAINTAINER),
        "upload_begin": ("/upload/begin", {}, {**dict.fromkeys(VISITORS, 400), "anonymous": 401}),
        "upload_finish": ("/upload/finish", {}, {**dict.fromkeys(VISITORS, 400), "anonymous": 401}),
        "upload_forget": (
            "/upload/unfinished/poetry/forget",
            {},
            {**dict.fromkeys(VISITORS, 204), "anonymous": 401},
        ),
        "upload_card": ("/upload/card", {"card": "# x"}, SIGNED_IN),
        "yank, private": (
            f"/{made.private.adapter.full_name}/releases/{made.private.oid}/yank",
            reason,
            {**POST_OWNER, "stranger": 404, "maintainer": 404},
        ),
        "revoke, not yours": (
            "/settings/tokens/99/revoke",
            {},
            {**dict.fromkeys(VISITORS, 404), "anonymous": 302},
        ),
    }


def test_each_visitor_reads_what_they_may_and_nothing_else(made: Content) -> None:
    table = reading(made)

    for kind in VISITORS:
        client = seen_by(visitor(made, kind))
        found = {name: client.get(path).status_code for name, (path, _) in table.items()}
        assert found == {name: expected[kind] for name, (_, expected) in table.items()}, kind


def test_each_visitor_changes_what_they_may_and_nothing_else(made: Content) -> None:
    table = writing(made)

    for kind in VISITORS:
        client = seen_by(visitor(made, kind))
        with transaction.atomic():
            found = {name: client.post(path, form).status_code for name, (path, form, _) in table.items()}
            transaction.set_rollback(True)
        assert found == {name: expected[kind] for name, (_, _, expected) in table.items()}, kind


def test_no_address_is_forgotten_here(made: Content) -> None:
    """Pictures are the same for whoever asks: test_social_cards.py asks for them."""
    named = {pattern.name for pattern in urlpatterns if pattern not in social_urls.urlpatterns}

    assert named <= set(reading(made))


def test_an_unknown_and_a_private_adapter_look_the_same(made: Content) -> None:
    client = seen_by(None)

    private = client.get("/ada/secret-sauce").content.decode()
    unknown = client.get("/ada/secret-sauze").content.decode()

    assert private.replace("secret-sauce", "X") == unknown.replace("secret-sauze", "X")


def test_lists_do_not_tell_of_private_adapters(made: Content) -> None:
    stranger = seen_by(made.newcomer)

    for path in ("/", f"/libraries/{made.library.slug}", "/ada", f"/libraries/{made.library.slug}/versions"):
        assert "secret-sauce" not in stranger.get(path).content.decode(), path
    assert "secret-sauce" in seen_by(made.contributor).get("/ada").content.decode()


def test_forms_need_their_secret(made: Content) -> None:
    client = seen_by(made.maintainer)
    client.handler.enforce_csrf_checks = True

    answer = client.post(f"/libraries/{made.library.slug}/versions/promote", {"number": 1, "reason": "x"})

    assert answer.status_code == 403
    assert "send it again" in answer.content.decode()
