"""What only the hub's staff sees: who keeps how much, and what the workers do."""

from collections.abc import Callable
from functools import wraps
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from hub.accounts import services as accounts
from hub.accounts.models import User
from hub.errors import Conflict, NotAllowed, NotFound
from hub.jobs import services as jobs
from hub.jobs.models import Job
from hub.pages import desk
from hub.pages.desk_forms import QuotaForm
from hub.pages.forms import positive
from hub.pages.visitors import signed_in

PAGE = 25


def staff_only(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Raises NotAllowed for everybody else who is signed in."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: object, **names: object) -> HttpResponse:
        if not request.user.is_staff:
            raise NotAllowed("Only the hub's staff sees this.")
        return view(request, *args, **names)

    return login_required(never_cache(guarded))


@staff_only
@require_safe
def people(request: HttpRequest) -> HttpResponse:
    """Everybody, who keeps most first."""
    words = request.GET.get("q", "")[:40]
    page = Paginator(desk.keepers(words), PAGE).get_page(request.GET.get("page"))
    context = {
        "page": page,
        "people": desk.shown(list(page.object_list)),
        "words": words,
        "more": f"&{urlencode({'q': words})}",
    }
    return render(request, "desk/people.html", context)


@staff_only
@require_POST
def quota(request: HttpRequest, username: str) -> HttpResponse:
    person = User.objects.filter(username=username).first()
    if person is None:
        raise NotFound(f"There is nobody called {username} here.")
    form = QuotaForm(request.POST)
    if form.is_valid():
        accounts.change_quota(user=person, quota_bytes=form.quota_bytes(), by=signed_in(request))
        messages.success(request, f"{person.username} has another quota now.")
    else:
        messages.error(request, "A quota is a number of GiB, or empty for what everybody may.")
    return redirect("desk_people")


@staff_only
@require_safe
def all_jobs(request: HttpRequest) -> HttpResponse:
    state = request.GET.get("state", "")
    if state not in ("", *Job.State.values):
        raise NotFound(f"There is no state {state[:20]!r}; there are {', '.join(Job.State.values)}.")
    lines = desk.job_lines(state=state, before=positive(request.GET.get("before")))
    counted = desk.unfinished()
    context = {
        "lines": lines[: desk.JOBS],
        "older": lines[desk.JOBS - 1].job.pk if len(lines) > desk.JOBS else None,
        "states": [(name, counted.get(name)) for name in Job.State.values],
        "state": state,
    }
    return render(request, "desk/jobs.html", context)


@staff_only
@require_POST
def retry(request: HttpRequest, number: int) -> HttpResponse:
    job = Job.objects.filter(pk=number).first()
    if job is None:
        raise NotFound(f"There is no job {number}.")
    try:
        jobs.retry(job)
    except Conflict as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"Job {number} is tried again.")
    return redirect("desk_jobs")
