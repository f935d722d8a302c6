from django.contrib import admin

from hub.exports.models import Export
from hub.readonly import ReadOnlyAdmin


@admin.register(Export)
class ExportAdmin(ReadOnlyAdmin):
    list_display = ("pk", "release", "checkpoint", "endpoint", "repo", "by", "status", "commit", "note")
    list_select_related = ("release__adapter__owner", "checkpoint__version__library", "by")
    exclude = ("token",)
