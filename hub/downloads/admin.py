from django.contrib import admin

from hub.downloads.models import DayOfDownloads
from hub.readonly import ReadOnlyAdmin


@admin.register(DayOfDownloads)
class DayOfDownloadsAdmin(ReadOnlyAdmin):
    list_display = ("release", "day", "count")
    list_select_related = ("release__adapter__owner",)
