from django.contrib import admin

from hub.readonly import ReadOnlyAdmin
from hub.uses.models import DayOfUse, Reporter


@admin.register(DayOfUse)
class DayOfUseAdmin(ReadOnlyAdmin):
    list_display = ("version", "release", "day", "places")
    list_select_related = ("version__library", "release__adapter__owner")


@admin.register(Reporter)
class ReporterAdmin(ReadOnlyAdmin):
    list_display = ("instance", "number", "at")
