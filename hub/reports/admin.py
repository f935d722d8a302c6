from django.contrib import admin

from hub.readonly import ReadOnlyAdmin
from hub.reports.models import Report


@admin.register(Report)
class ReportAdmin(ReadOnlyAdmin):
    list_display = ("adapter", "reason", "by", "created_at", "resolved_at", "resolved_by")
    list_filter = ("reason",)
    list_select_related = ("adapter__owner", "by", "resolved_by")
