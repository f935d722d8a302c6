"""The pages of what was measured: a library's leaderboard, and one evaluation in full."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from hub.http import own_address
from hub.library.permissions import may_maintain
from hub.pages import evaluation, leaderboard, snippets
from hub.pages.listing import library_called


@require_safe
def board(request: HttpRequest, slug: str) -> HttpResponse:
    library = library_called(slug)
    context = leaderboard.board_page(request, library)
    if not context["boards"] and library.current and may_maintain(request.user, library):
        context["send"] = snippets.send_evaluation(own_address(request), slug, library.current.number)
    return render(request, "evaluations/board.html", context)


@require_safe
def one(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    context = evaluation.evaluation_page(request, library_called(slug), number)
    return render(request, "evaluations/evaluation.html", context)
