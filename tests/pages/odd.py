"""What is seldom met, added to the content of `tests.pages.content`: texts from right to left, names as long as they
may be, adapters that ask for access, work that failed, a card that nobody filled in.
"""

from dataclasses import dataclass

from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal import auth as totp
from django.conf import settings
from django.test import override_settings

from hub.accounts import organisations
from hub.accounts.models import User
from hub.adapters import access, plans, repositories
from hub.adapters.models import Release
from hub.adapters.plans import Plan, Planned
from hub.indexes import checkpoints
from hub.indexes.models import ComposedCheckpoint
from hub.jobs import services as jobs
from hub.jobs.models import JobKind
from hub.library import services as libraries
from hub.library.models import Library
from hub.mirrors import services as mirrors
from tests.hub import making
from tests.pages import content
from tests.pages.content import Content
from tests.pages.learnt import published

LONGEST_PERSON = "wilhelmina-constantinopolitanopoulos-iv"  # 39 letters, the most
RIGHT_TO_LEFT = """---
license: cc-by-4.0
language: [ar, he]
tags: [شعر, قصيدة]
---
# قصائد على طريقة الأوائل

يكتب **أبياتًا موزونة** عن كل ما يذكره السؤال، و`prompt = "البحر"` مثال على ذلك. تغيّرت الخسارة بمقدار -0.04 (من 2.11 إلى 2.07).

## שימוש

1. שורה עם נושא, למשל `Theme: the sea`
2. שורה ריקה

| split | loss |
|---|---|
| تدريب | 1.91 |
| اختبار | -0.04 |
"""
ROUNDING = {
    "bits": 4,
    "group": 64,
    "format": "compressed-tensors==0.20.0",
    "bytes": 3 * 1024**2,
    "unquantised_bytes": 8 * 1024**2,
    "difference": {"tokens": 512, "kl_mean": 0.0213, "kl_largest": 0.4, "same_likeliest": 0.971},
}
UNFILLED = "# Model Card for Model ID\n\n" + "- **Developed by:** [More Information Needed]\n\n" * 39


@dataclass(frozen=True)
class Odd:
    """Who and what there is besides."""

    library: Library
    long_person: User
    guarded: User
    right_to_left: Release
    gated: Release
    unfilled: Release
    failed: ComposedCheckpoint
    merged: ComposedCheckpoint
    broken: Library


def add_what_is_odd(made: Content) -> Odd:
    ada, cleo, dora = made.contributor, made.maintainer, made.newcomer
    person = making.user(LONGEST_PERSON)
    library = content.found_library(
        "diwan",
        maintainer=cleo,
        name="ديوان الشعر العربي",
        description="مهارات صغيرة لنموذج صغير: كل إضافة تفعل شيئًا واحدًا لا يعرفه الأصل.",
    )
    poems = content.ready(
        person, library, "qasida", card=RIGHT_TO_LEFT, message="الإصدار الأول: الخسارة -0.04"
    )
    gated = content.ready(ada, library, "ghazal", card=RIGHT_TO_LEFT)
    unfilled = content.ready(ada, library, "left-open", card=UNFILLED)
    published(library)
    access.gate(adapter=gated.adapter, gating="manual")
    gated.adapter.refresh_from_db()
    access.ask(adapter=gated.adapter, user=dora, message="أريد أن أقرأ بها لطلابي.")
    access.invite(adapter=gated.adapter, user=person)
    repositories.create(owner=ada, name="nothing-yet")
    organisations.invite(organisation=User.objects.get(username="rhymes"), user=person, role="member", by=ada)
    _begin(ada)
    _mirror(library, cleo)
    return Odd(
        library=library,
        long_person=person,
        guarded=_guarded(),
        right_to_left=poems,
        gated=gated,
        unfilled=unfilled,
        failed=_failed(made),
        merged=_merged(made),
        broken=_broken(),
    )


def _begin(ada: User) -> None:
    """An upload that was not finished."""
    files = (Planned("adapter_model.safetensors", "a" * 64, 2_654_208), Planned("README.md", "b" * 64, 620))
    plans.begin(ada, Plan("demo", "half-way", files))


def _mirror(library: Library, by: User) -> None:
    endpoint = "https://huggingface.co"
    with override_settings(IMPORT_FROM=(endpoint,)):
        found = mirrors.mirror(library=library, by=by, repo="someone/verses", endpoint=endpoint, follow=True)
    claim = making.take(JobKind.IMPORT)
    mirrors.record_nothing(claim, found.pk, note="It has no adapter_config.json (someone/verses at main).")
    jobs.finish(claim)


def _guarded() -> User:
    """Somebody with a second factor."""
    person = making.user("gus")
    totp.TOTP.activate(person, "JBSWY3DPEHPK3PXP")
    RecoveryCodes.activate(person)
    return person


def _failed(made: Content) -> ComposedCheckpoint:
    assert made.library.current is not None
    asked = checkpoints.request_checkpoint(
        version=made.library.current, kind="merged", requested_by=made.maintainer
    )
    jobs.fail(making.take(JobKind.COMPOSE), "OSError: [Errno 28] No space left on device")
    asked.refresh_from_db()
    return asked


def _merged(made: Content) -> ComposedCheckpoint:
    assert made.library.current is not None
    asked = checkpoints.request_checkpoint(
        version=made.library.current, kind="merged", requested_by=made.contributor, options={"bits": 4}
    )
    claim = making.take(JobKind.COMPOSE)
    files = {f"model-{number:05d}-of-00020.safetensors": b"x" * 9_000 for number in range(1, 21)}
    written = {file.path: file.source for file in making.staged({"README.md": b"# Demo", **files})}
    checkpoints.record_checkpoint(claim, asked.pk, written, rounding=ROUNDING)
    jobs.finish(claim)
    asked.refresh_from_db()
    return asked


def _broken() -> Library:
    """A library whose base cannot be read."""
    found = libraries.create_library(
        slug="broken", base_source=f"{settings.TEMPORARY}/nowhere", name="L" * 60
    )
    jobs.fail(making.take(JobKind.INSPECT_BASE), "there is no config.json")
    found.refresh_from_db()
    return found
