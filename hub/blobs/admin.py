from django.contrib import admin

from hub.blobs.models import Blob
from hub.readonly import ReadOnlyAdmin


@admin.register(Blob)
class BlobAdmin(ReadOnlyAdmin):
    list_display = ("sha256", "size", "created_at", "stored_at")
    search_fields = ("sha256", "git_oid")
