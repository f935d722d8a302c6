from django.contrib import admin

from hub.decisions.models import Decision
from hub.readonly import ReadOnlyAdmin


@admin.register(Decision)
class DecisionAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "by", "reason", "at")
    list_select_related = ("library", "release__adapter__owner", "by")
    list_filter = ("library", "what")
