from django.contrib import admin

from hub.indexes.models import CheckpointFile, ComposedCheckpoint, IndexMember, IndexVersion, Promotion
from hub.readonly import ReadOnlyAdmin


@admin.register(IndexVersion)
class IndexVersionAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "status", "expert_count", "size", "published_at")
    list_select_related = ("library",)
    list_filter = ("library", "status")


@admin.register(IndexMember)
class IndexMemberAdmin(ReadOnlyAdmin):
    list_display = ("library", "release", "since", "until")
    list_select_related = ("library", "release__adapter__owner")
    list_filter = ("library",)


@admin.register(Promotion)
class PromotionAdmin(ReadOnlyAdmin):
    list_display = ("version", "by", "reason", "at")
    list_select_related = ("version__library", "by")
    list_filter = ("library",)


@admin.register(ComposedCheckpoint)
class ComposedCheckpointAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "status", "archive_size", "requested_by", "created_at", "expires_at")
    list_select_related = ("version__library", "requested_by")
    list_filter = ("library", "kind", "status")


@admin.register(CheckpointFile)
class CheckpointFileAdmin(ReadOnlyAdmin):
    list_display = ("path", "checkpoint", "blob")
    list_select_related = ("checkpoint__version__library", "blob")
