"""What pictures are taken of: every page of the hub, in the states that it can be in, and who looks."""

from hub.ablations.models import Ablation
from hub.accounts import devices
from hub.accounts.models import User
from hub.adapters.models import Release
from hub.evaluations.models import Evaluation
from hub.exports.models import Export
from tests.pages import content
from tests.pages.odd import Odd

Looks = dict[str, tuple[str, User | None]]  # name of a picture -> address and who looks


def account_pages(made: content.Content) -> Looks:
    """The same for people and their settings."""
    ada = made.contributor
    return {
        "profile": ("/ada", None),
        "profile-empty": ("/dora", made.newcomer),
        "tokens": ("/settings/tokens", ada),
        "device-code": ("/settings/device?code=BCDF-GHJK", ada),
        "device": (
            f"/settings/device?code={devices.ask('huggingface_hub/2.4.0', address='192.0.2.1').user_code}",
            ada,
        ),
        "notifications": ("/notifications", ada),
        "notifications-empty": ("/notifications", made.newcomer),
        "notification-settings": ("/settings/notifications", ada),
        "desk": ("/desk", made.maintainer),
        "desk-staff": ("/desk", made.staff),
        "desk-reports": ("/desk/reports", made.maintainer),
        "desk-people": ("/desk/people", made.staff),
        "desk-jobs": ("/desk/jobs", made.staff),
        "desk-jobs-failed": ("/desk/jobs?state=failed", made.staff),
        "report-form": (f"/{made.ready.adapter.full_name}/report", ada),
        "organisations": ("/settings/organisations", ada),
        "organisation": ("/settings/organisations/rhymes", ada),
        "organisation-profile": ("/rhymes", ada),
        "second-factor": ("/accounts/2fa/", ada),
        "reauthenticate": ("/accounts/reauthenticate/", ada),
        "tokens-empty": ("/settings/tokens", made.maintainer),
        "sign-in": ("/accounts/login/", None),
        "sign-up": ("/accounts/signup/", None),
        "password": ("/accounts/password/change/", ada),
        "password-reset": ("/accounts/password/reset/", None),
        "email": ("/accounts/email/", ada),
    }


def contribution_pages(made: content.Content) -> Looks:
    """The same of what each expert contributes, in every state of a measurement."""
    found = Ablation.objects.order_by("-pk").select_related("version__library")
    newest, before = found[0].version, f"/libraries/{made.library.slug}/versions/3/contributions"
    page = f"/libraries/{made.library.slug}/versions/{newest.number}/contributions"
    states = {run.state: run.pk for run in found if run.version_id == newest.pk}
    return {
        "contributions-stale": (before, None),
        "contributions-stale-maintainer": (before, made.maintainer),
        **{f"contributions-{state}": (f"{page}?run={run}", made.maintainer) for state, run in states.items()},
        "contributions-empty": (f"/libraries/{made.library.slug}/versions/1/contributions", None),
    }


def library_pages(made: content.Content) -> Looks:
    """The same of one library and what goes out of it."""
    slug, ada, cleo = made.library.slug, made.contributor, made.maintainer
    return {
        "versions": (f"/libraries/{slug}/versions", cleo),
        "board": (f"/libraries/{slug}/evaluations", None),
        "board-empty": ("/libraries/bare/evaluations", None),
        "evaluation": (evaluation_at(made), None),
        "evaluation-member": (f"{evaluation_at(made)}?member=all", None),
        "questions": (f"{evaluation_at(made)}/questions?member=all", None),
        "questions-maintainer": (f"{evaluation_at(made)}/questions?member=all&way=arrow", made.maintainer),
        "questions-none": (f"{evaluation_at(made)}/questions?member=all&only=wrong&way=retrieval", None),
        **contribution_pages(made),
        "speakers": (f"/libraries/{slug}/speakers", ada),
        "map": (f"/libraries/{slug}/map", None),
        "map-cluster": (f"/libraries/{slug}/map?cluster=1", None),
        "map-empty": ("/libraries/bare/map", None),
        "decisions": (f"/libraries/{slug}/decisions", None),
        "versions-empty": ("/libraries/bare/versions", None),
        "checkpoints": (f"/libraries/{slug}/checkpoints", ada),
        "builder": (f"/libraries/{slug}/checkpoints/new", ada),
        "builder-adapter": (
            f"/libraries/{slug}/checkpoints/new?version=3&kind=adapter&rank=64&method=ties&experts=ada/haiku&experts=bob/poetry",
            ada,
        ),
        "builder-merged": (f"/libraries/{slug}/checkpoints/new?version=3&kind=merged&bits=4", ada),
        "builder-wrong": (f"/libraries/{slug}/checkpoints/new?version=3&kind=routed&router=phatgoose", None),
        "builder-empty": ("/libraries/bare/checkpoints/new", None),
        "checkpoints-anonymous": ("/libraries/bare/checkpoints", None),
        "checkpoint": (f"/checkpoints/{made.checkpoint.pk}", None),
        "checkpoint-maintainer": (f"/checkpoints/{made.checkpoint.pk}", cleo),
        "checkpoint-composing": (f"/checkpoints/{made.composing.pk}", None),
        "export-moving": (f"/exports/{made.export.pk}", ada),
        "export-refused": (f"/exports/{Export.objects.get(status='refused').pk}", ada),
        "export-checkpoint": (f"/exports/{Export.objects.get(checkpoint=made.checkpoint).pk}", cleo),
    }


def pages(made: content.Content) -> Looks:

    def at(release: Release) -> str:
        return f"/{release.adapter.full_name}"

    second = Release.objects.get(adapter__name="poetry", number=2)
    slug, ada, cleo = made.library.slug, made.contributor, made.maintainer
    return {
        "home": ("/", None),
        "library": (f"/libraries/{slug}", None),
        "browse": ("/adapters", None),
        "browse-narrowed": ("/adapters?q=poe&status=ready&owner=bob", None),
        "browse-owner": ("/adapters?sort=name", ada),
        "browse-nothing": ("/adapters?q=poetry+zebra&kind=lora&rank=65-", None),
        "browse-refused": ("/adapters?sort=oldest", None),
        "browse-filters": ("/adapters?status=ready&status=rejected", None),
        "library-empty": ("/libraries/bare", ada),
        "adapter": (at(made.ready), None),
        "adapter-owner": (at(made.ready), ada),
        "adapter-long": (at(made.long), None),
        "adapter-rejected": (at(made.rejected), ada),
        "adapter-waiting": (at(made.waiting), ada),
        "adapter-running": (at(made.running), None),
        "adapter-private": (at(made.private), ada),
        "adapter-quarantined": (at(made.quarantined), None),
        "release-maintainer": (f"{at(made.ready)}/releases/{made.ready.oid}", cleo),
        "mend": (f"{at(made.rejected)}/releases/{made.rejected.oid}/mend", ada),
        "status": ("/status", None),
        "changes": (f"{at(second)}/releases/{second.oid}/changes", None),
        "file": (f"{at(made.ready)}/releases/{made.ready.oid}/files/adapter_model.safetensors", None),
        "file-text": (f"{at(made.ready)}/releases/{made.ready.oid}/files/README.md", None),
        "upload-start": ("/upload", ada),
        "upload": (f"/libraries/{slug}/upload", ada),
        "play": (f"/libraries/{slug}/play?compare=on&b-who=base", ada),
        "play-empty": ("/libraries/bare/play", None),
        **account_pages(made),
        "not-found": ("/nobody/nothing", None),
        "tokens-shown": ("/settings/tokens", made.newcomer),
        "upload-refused": (f"/libraries/{slug}/upload", ada),
        "upload-chosen": (f"/libraries/{slug}/upload", ada),
        "sign-in-wrong": ("/accounts/login/", None),
        "forbidden": (f"/libraries/{slug}/versions", cleo),
        "admin": ("/admin/", made.staff),
        **library_pages(made),
    }


def evaluation_at(made: content.Content) -> str:
    newest = Evaluation.objects.filter(suite="bbh").latest("pk")
    return f"/libraries/{made.library.slug}/evaluations/{newest.pk}"


def odd_pages(made: content.Content, odd: Odd) -> Looks:
    """What is seldom met: texts from right to left, the longest names, failures, access on request."""
    ada, cleo, person = made.contributor, made.maintainer, odd.long_person
    gated, poems = f"/{odd.gated.adapter.full_name}", f"/{odd.right_to_left.adapter.full_name}"
    diwan = f"/libraries/{odd.library.slug}"
    return {
        "poems": (poems, None),
        "poems-library": (diwan, person),
        "poems-browse": ("/adapters?q=qasida", None),
        "poems-file": (f"{poems}/releases/{odd.right_to_left.oid}/files/README.md", None),
        "poems-builder": (f"{diwan}/checkpoints/new", ada),
        "profile-long": (f"/{person.username}", person),
        "organisations-invited": ("/settings/organisations", person),
        "gated": (gated, None),
        "gated-asked": (gated, made.newcomer),
        "gated-owner": (gated, ada),
        "gated-newcomer": (gated, cleo),
        "adapter-unfilled": (f"/{odd.unfilled.adapter.full_name}", ada),
        "adapter-empty": ("/ada/nothing-yet", ada),
        "checkpoint-failed": (f"/checkpoints/{odd.failed.pk}", cleo),
        "checkpoint-merged": (f"/checkpoints/{odd.merged.pk}", None),
        "library-broken": (f"/libraries/{odd.broken.slug}", None),
        "desk-jobs-failed": ("/desk/jobs?state=failed", made.staff),
        "desk-empty": ("/desk", odd.guarded),
        "desk-reports-resolved": ("/desk/reports?state=resolved", made.maintainer),
        "changes-first": (f"{poems}/releases/{odd.right_to_left.oid}/changes", None),
        "speakers-empty": ("/libraries/bare/speakers", None),
        "decisions-empty": ("/libraries/bare/decisions", None),
        "upload-unfinished": ("/upload", ada),
        "upload-library": ("/libraries/demo/upload", ada),
        "upload-card": ("/libraries/demo/upload", ada),
        "upload-rows": ("/libraries/demo/upload", ada),
        "upload-send": ("/libraries/demo/upload", ada),
        "factor-set-up": ("/accounts/2fa/totp/activate/", ada),
        "factor-on": ("/accounts/2fa/", odd.guarded),
        "factor-codes": ("/accounts/2fa/recovery-codes/", odd.guarded),
        "factor-asked": ("/accounts/login/", None),
        "password-reset-done": ("/accounts/password/reset/", None),
        "sign-up-wrong": ("/accounts/signup/", None),
        "sign-out": ("/accounts/logout/", ada),
        "error-too-often": ("/accounts/password/reset/", None),
        "error-too-large": ("/libraries/demo/upload", ada),
        "error-ours": ("/status", None),
        "menu": ("/", cleo),
        "api": ("/api/v1/docs", None),
        **{f"plain-{name}": look for name, look in plain_pages(made).items()},
        "play-answered": ("/libraries/demo/play?compare=on&b-who=base", cleo),
        "speakers-read": ("/libraries/demo/speakers", ada),
    }


def plain_pages(made: content.Content) -> Looks:
    """Where scripts do most, looked at without them."""
    ada = made.contributor
    return {
        "upload": ("/libraries/demo/upload", ada),
        "play": ("/libraries/demo/play", ada),
        "builder": ("/libraries/demo/checkpoints/new", ada),
        "browse": ("/adapters", None),
        "adapter-running": (f"/{made.running.adapter.full_name}", None),
    }


def many_pages(adapter: str, library: str) -> Looks:
    """With ten thousand adapters."""
    return {
        "many-home": ("/", None),
        "many-browse": ("/adapters", None),
        "many-browse-narrowed": (f"/adapters?library={library}&rank=5-8&licence=mit", None),
        "many-library": (f"/libraries/{library}", None),
        "many-adapter": (f"/{adapter}", None),
        "many-profile": (f"/{adapter.partition('/')[0]}", None),
        "many-builder": ("/libraries/demo/checkpoints/new", None),
        "many-versions": ("/libraries/demo/versions", None),
        "many-map": ("/libraries/demo/map", None),
        "many-map-cluster": ("/libraries/demo/map?cluster=3", None),
    }
