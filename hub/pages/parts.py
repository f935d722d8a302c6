"""Parts of pages that our scripts ask for alone; whoever opens their address is shown, or led to, a page."""

from django.http import HttpRequest

BY_SCRIPT = "X-Requested-With"  # what answers such an address differs by it, so that caches must know


def asked_by_script(request: HttpRequest) -> bool:
    return request.headers.get(BY_SCRIPT) == "XMLHttpRequest"
