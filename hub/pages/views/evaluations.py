"""The pages of what was measured: a library's leaderboard, and one evaluation in full."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from hub.evaluations import services
from hub.http import own_address
from hub.library.permissions import may_maintain, require_maintain
from hub.pages import evaluation, leaderboard, snippets
from hub.pages import questions as asked
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


@require_safe
def questions(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """Some questions of one member. Not for search engines: models learn from what those find."""
    response = render(
        request, "evaluations/questions.html", asked.questions_page(request, library_called(slug), number)
    )
    response["X-Robots-Tag"] = "noindex"
    return response


@login_required
@require_POST
def delete_questions(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    library = library_called(slug)
    require_maintain(request.user, library)
    if services.delete_questions(evaluation.evaluation_of(library, number)):
        messages.success(request, "The questions were deleted for good.")
    return redirect("evaluation", slug, number)
