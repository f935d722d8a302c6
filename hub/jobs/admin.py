from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from hub.errors import Conflict
from hub.jobs import services
from hub.jobs.models import Job, JobEvent
from hub.readonly import AnyInline, ReadOnlyAdmin


class EventInline(AnyInline):
    model = JobEvent
    extra = 0
    can_delete = False
    readonly_fields = ("what", "token", "detail", "at")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    list_display = ("pk", "kind", "key", "state", "attempt", "progress_note", "created_at", "finished_at")
    list_filter = ("state", "kind", "queue")
    search_fields = ("key", "error")
    inlines = (EventInline,)
    actions = ("try_again",)

    @admin.action(description="Try the chosen failed jobs again")
    def try_again(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        for job in queryset:
            try:
                services.retry(job)
            except Conflict as error:
                self.message_user(request, str(error), messages.WARNING)
            else:
                self.message_user(request, f"{job} is tried again")
