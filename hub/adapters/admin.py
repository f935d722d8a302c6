from django.contrib import admin

from hub.adapters.models import Adapter, Commit, CommitFile, Gates, Release, ReleaseEvent
from hub.readonly import ReadOnlyAdmin


@admin.register(Adapter)
class AdapterAdmin(ReadOnlyAdmin):
    list_display = ("full_name", "library", "private", "created_at")
    list_select_related = ("owner", "library")
    list_filter = ("library", "private")
    search_fields = ("name", "owner__username")


@admin.register(Commit)
class CommitAdmin(ReadOnlyAdmin):
    list_display = ("oid", "adapter", "author", "created_at")
    list_select_related = ("adapter__owner", "author")
    search_fields = ("oid",)


@admin.register(CommitFile)
class CommitFileAdmin(ReadOnlyAdmin):
    list_display = ("path", "commit", "blob")
    list_select_related = ("commit", "blob")
    search_fields = ("commit__oid", "blob__sha256")


@admin.register(Release)
class ReleaseAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "status", "created_at", "settled_at", "yanked_at", "quarantined_at")
    list_select_related = ("adapter__owner",)
    list_filter = ("status", "adapter__library")
    exclude = ("fingerprint",)
    search_fields = ("adapter__name", "commit__oid")


@admin.register(Gates)
class GatesAdmin(ReadOnlyAdmin):
    list_display = ("release", "number", "source", "standing", "rows", "best_step", "seconds", "created_at")
    list_select_related = ("release__adapter__owner",)
    list_filter = ("standing", "source", "release__adapter__library")


@admin.register(ReleaseEvent)
class ReleaseEventAdmin(ReadOnlyAdmin):
    list_display = ("release", "what", "by", "reason", "at")
    list_select_related = ("release__adapter__owner", "by")
    list_filter = ("what",)
