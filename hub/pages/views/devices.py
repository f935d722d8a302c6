"""Letting a program in that shows a code."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from hub.accounts import devices
from hub.accounts.models import DeviceLogin
from hub.errors import NotFound
from hub.pages.forms import DeviceCodeForm, DeviceForm
from hub.pages.visitors import signed_in

PAGE = "accounts/device.html"


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def device(request: HttpRequest) -> HttpResponse:
    """Asks for the code; shows whose it is; lets the program in or turns it away."""
    if request.method == "POST":
        return _decided(request)
    asked = DeviceCodeForm(request.GET if "code" in request.GET else None)
    if not asked.is_valid():
        return render(request, PAGE, {"asked": asked})
    try:
        login = devices.waiting(asked.cleaned_data["code"])
    except NotFound as error:
        asked.add_error("code", str(error))
        return render(request, PAGE, {"asked": asked})
    form = DeviceForm(initial={"code": login.user_code})
    return render(request, PAGE, _shown(login) | {"form": form})


def _decided(request: HttpRequest) -> HttpResponse:
    form, who = DeviceForm(request.POST), signed_in(request)
    if not form.is_valid():
        return render(request, PAGE, {"asked": DeviceCodeForm()}, status=400)
    code = form.cleaned_data["code"]
    if request.POST.get("decision") == "approve":
        login = devices.approve(user=who, user_code=code, scopes=form.scopes())
    else:
        login = devices.deny(user=who, user_code=code)
    return render(request, PAGE, _shown(login) | {"approved": login.state == DeviceLogin.State.APPROVED})


def _shown(login: DeviceLogin) -> dict[str, object]:
    return {
        "login": login,
        "code": devices.spelled(login.user_code),
        "days": devices.TOKEN_LIFE.days,
    }
