from django.contrib import admin

from hub.library.models import CollectorRows, Library
from hub.readonly import AnyAdmin, ReadOnlyAdmin


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


@admin.register(CollectorRows)
class CollectorRowsAdmin(ReadOnlyAdmin):
    list_display = ("library", "lines", "sha256", "by", "created_at", "deleted_at")
    list_select_related = ("library", "by")
    exclude = ("blob",)
