from django.contrib import admin

from hub.readonly import ReadOnlyAdmin
from hub.search.models import Entry


@admin.register(Entry)
class EntryAdmin(ReadOnlyAdmin):
    list_display = ("adapter", "kind", "rank", "task", "licence", "standing", "newest_at", "likes", "used")
    list_select_related = ("adapter__owner",)
    list_filter = ("kind", "standing")
