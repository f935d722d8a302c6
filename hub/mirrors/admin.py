from django.contrib import admin

from hub.mirrors.models import Feed, Mirror, Origin
from hub.readonly import ReadOnlyAdmin


@admin.register(Mirror)
class MirrorAdmin(ReadOnlyAdmin):
    list_display = ("repo", "endpoint", "revision", "library", "follow", "commit", "looked_at", "note")
    list_select_related = ("library",)


@admin.register(Origin)
class OriginAdmin(ReadOnlyAdmin):
    list_display = ("release", "mirror", "commit", "licence", "at")
    list_select_related = ("release__adapter__owner", "mirror")


@admin.register(Feed)
class FeedAdmin(ReadOnlyAdmin):
    list_display = ("tag", "endpoint", "library", "owner", "count", "looked_at", "note")
    list_select_related = ("library", "owner")
