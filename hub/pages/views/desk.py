"""The maintainer's desk: what waits for a decision. Its other drawers are the staff's alone."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from hub.adapters import gates as all_gates
from hub.adapters import services as adapters
from hub.errors import Conflict, Invalid, NotAllowed, NotFound
from hub.library import services as libraries
from hub.library.permissions import maintained, require_maintain
from hub.pages import desk
from hub.pages.desk_forms import ReviewForm, SwitchForm
from hub.pages.listing import library_called
from hub.pages.visitors import signed_in
from hub.reports import queries as reports


def require_desk(request: HttpRequest) -> None:
    """Raises NotAllowed."""
    if not (request.user.is_staff or maintained(request.user).exists()):
        raise NotAllowed("This is the desk of those who maintain a library. You maintain none.")


@never_cache
@login_required
@require_safe
def review(request: HttpRequest) -> HttpResponse:
    """What waits, and the libraries whose releases wait."""
    require_desk(request)
    context = {
        "queue": desk.queue_of(request.user),
        "open_reports": reports.for_desk(request.user).filter(resolved_at=None).count(),
        "libraries": maintained(request.user),
    }
    return render(request, "desk/review.html", context)


@login_required
@require_POST
def release(request: HttpRequest, number: int) -> HttpResponse:
    """Lets a release in that was held back."""
    found = desk.release_called(number, request.user)
    if found is None:
        raise NotFound("There is no such release in a library that you maintain.")
    try:
        adapters.restore(release=found, by=signed_in(request), reason=_decided(request)["reason"])
    except Conflict as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"{found} is let in. The next index version takes it in.")
    return redirect("desk")


@login_required
@require_POST
def gates(request: HttpRequest, number: int) -> HttpResponse:
    """Lets gates in that were held back, or refuses them."""
    found = desk.gates_called(number, request.user)
    if found is None:
        raise NotFound("There are no such gates that wait in a library that you maintain.")
    said, who = _decided(request), signed_in(request)
    try:
        if said["decision"] == "let-in":
            all_gates.let_in(gates=found, by=who, reason=said["reason"])
        else:
            all_gates.refuse(gates=found, by=who, reason=said["reason"])
    except (Conflict, Invalid) as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"Decided about {found}.")
    return redirect("desk")


@login_required
@require_POST
def library(request: HttpRequest, slug: str) -> HttpResponse:
    """Whether the releases of a library wait for its maintainer."""
    found = library_called(slug)
    require_maintain(request.user, found)
    form = SwitchForm(request.POST)
    if not form.is_valid():
        raise Invalid(
            "Say whether releases are reviewed: yes or no, with a reason of up to 2,000 characters."
        )
    wanted, reason = form.cleaned_data["review"] == "yes", form.cleaned_data["reason"]
    libraries.change_review(library=found, wanted=wanted, by=signed_in(request), reason=reason)
    said = "wait for a maintainer from now on" if wanted else "serve without waiting from now on"
    messages.success(request, f"New releases of {found.name} {said}.")
    return redirect("desk")


def _decided(request: HttpRequest) -> dict[str, str]:
    form = ReviewForm(request.POST)
    if not form.is_valid():
        raise Invalid("Say what you decide: let-in or refuse, with a reason of up to 2,000 characters.")
    return form.cleaned_data
