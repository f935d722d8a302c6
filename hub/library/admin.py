from django.contrib import admin

from hub.library.models import Library
from hub.readonly import AnyAdmin


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
        "current",
        "created_at",
    )
    search_fields = ("slug", "name")
