from collections.abc import Sequence
from typing import Any, cast

from django.contrib import admin
from django.http import HttpRequest

from hub.accounts.models import User
from hub.library import services
from hub.library.models import CollectorRows, Library
from hub.library.signals import settings_changed
from hub.readonly import AnyAdmin, ReadOnlyAdmin

# Which of the fields that can be typed here say how a library is run.
RUN_BY = ("auto_promote", "review_releases", "train_gates", "embed_samples", "maintainer")
ENCODER = ("encoder_source", "encoder_revision")
HERE = "in the admin"


@admin.register(Library)
class LibraryAdmin(AnyAdmin):
    list_display = ("slug", "base_source", "status", "current", "auto_promote", "maintainer")
    list_select_related = ("current__library", "maintainer")
    readonly_fields = (
        "slug",
        "base_source",
        "base_revision",
        "base_spec",
        "base_digest",
        "status",
        "policy",
        "gate_sources",
        "encoder",
        "encoder_settled",
        "current",
        "created_at",
    )
    search_fields = ("slug", "name")

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        """A library begins with the inspection of its base: `manage.py create_library` asks for it."""
        return False

    def save_model(self, request: HttpRequest, obj: Library, form: Any, change: bool) -> None:  # noqa: FBT001  Django's signature
        """How a library is run goes on record, whoever changes it. Another encoder is asked
        for, as by the command: it reads prompts only when every expert is introduced by it.
        """
        before = Library.objects.select_related("maintainer").get(pk=obj.pk)
        source, revision = obj.encoder_source, obj.encoder_revision
        obj.encoder_source, obj.encoder_revision = before.encoder_source, before.encoder_revision
        super().save_model(request, obj, form, change)
        if not set(ENCODER).isdisjoint(form.changed_data):
            services.change_encoder(
                library=obj, source=source, revision=revision, by=cast("User", request.user), reason=HERE
            )
        changed = [name for name in RUN_BY if name in form.changed_data]
        if changed:
            settings_changed.send(
                sender=Library,
                library=obj,
                before=_said(before, changed),
                after=_said(obj, changed),
                by=request.user,
                reason=HERE,
            )


def _said(library: Library, names: Sequence[str]) -> str:
    return ", ".join(
        services.SAID[name][getattr(library, name)]
        if name in services.SAID
        else f"maintained by {library.maintainer or 'nobody'}"
        for name in names
    )


@admin.register(CollectorRows)
class CollectorRowsAdmin(ReadOnlyAdmin):
    list_display = ("library", "lines", "sha256", "by", "created_at", "deleted_at")
    list_select_related = ("library", "by")
    exclude = ("blob",)
