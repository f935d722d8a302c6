"""How this hub is, for people; load balancers ask /healthz and /readyz."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from hub.pages import condition


@require_safe
@never_cache
def status(request: HttpRequest) -> HttpResponse:
    parts = condition.parts()
    context = {"parts": parts, "fine": condition.all_fine(parts), "now": timezone.now()}
    return render(request, "status.html", context)
