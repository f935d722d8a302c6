from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from hub.library.models import CollectorRows, Library
from hub.library.signals import settings_changed
from hub.readonly import AnyAdmin, ReadOnlyAdmin

# Which of the fields that can be typed here say how a library is run.
RUN_BY = ("auto_promote", "review_releases", "train_gates", "embed_samples", "maintainer")


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
        "current",
        "created_at",
    )
    search_fields = ("slug", "name")

    def save_model(self, request: HttpRequest, obj: Library, form: Any, change: bool) -> None:  # noqa: FBT001  Django's signature
        """How a library is run goes on record, whoever changes it."""
        before = Library.objects.filter(pk=obj.pk).select_related("maintainer").first()
        super().save_model(request, obj, form, change)
        changed = [name for name in RUN_BY if name in form.changed_data]
        if before is not None and changed:
            settings_changed.send(
                sender=Library,
                library=obj,
                before=_said(before, changed),
                after=_said(obj, changed),
                by=request.user,
                reason="in the admin",
            )


def _said(library: Library, names: Sequence[str]) -> str:
    return ", ".join(f"{name.replace('_', ' ')}: {getattr(library, name)}" for name in names)


@admin.register(CollectorRows)
class CollectorRowsAdmin(ReadOnlyAdmin):
    list_display = ("library", "lines", "sha256", "by", "created_at", "deleted_at")
    list_select_related = ("library", "by")
    exclude = ("blob",)
