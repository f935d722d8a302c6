"""The playground of a library: ask, see who spoke, and compare two answers."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from http import HTTPStatus
from typing import Any

from django.forms import Form
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from hub.accounts.addresses import address
from hub.errors import HubError
from hub.http import status_of
from hub.library.models import Library
from hub.pages import playing
from hub.pages.listing import library_called
from hub.playground import asking, events
from hub.playground.answers import Answer
from hub.playground.forms import QuestionForm, WayForm, opened
from hub.playground.questions import Asked

COLUMNS = ("a", "b")


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def play(request: HttpRequest, slug: str) -> HttpResponse:
    """The page; and where the form was sent without a script, with the whole answers."""
    library = library_called(slug)
    return _answered(request, library) if request.method == "POST" else _opened(request, library)


@never_cache
@require_POST
def ask(request: HttpRequest, slug: str, column: str) -> HttpResponse | StreamingHttpResponse:
    """One column's answer while it comes, a line of JSON for each event."""
    library = library_called(slug)
    form, ways = _sent(request, library)
    way = ways[COLUMNS.index(column)]
    if not (form.is_valid() and way.is_valid()):
        return JsonResponse({"detail": _complaints(form, way)}, status=HTTPStatus.BAD_REQUEST)
    asked = _asked(library, form, way)
    try:
        answering = _begin(request, library, asked, form)
    except HubError as error:
        return JsonResponse({"detail": str(error)}, status=status_of(error))
    opening = {"kind": "asked", "snippets": _commands(request, library, asked, form)}
    response = StreamingHttpResponse(_Lines(opening, answering), content_type="application/x-ndjson")
    response["X-Accel-Buffering"] = "no"  # nginx would keep the words until there are many
    return response


def _opened(request: HttpRequest, library: Library) -> HttpResponse:
    """The form as the address fills it in. Nothing is asked before somebody sends it."""
    offered = playing.offered(library)
    form = opened(QuestionForm, request.GET)
    ways = [opened(WayForm, request.GET, prefix=name, **offered) for name in COLUMNS]
    return _page(request, library, form, ways, columns=playing.columns([], [(), ()]))


def _answered(request: HttpRequest, library: Library) -> HttpResponse:
    asking.require_ask(request.user)
    form, ways = _sent(request, library)
    before = [way.conversation for way in ways]
    if not _valid(form, ways):
        columns = playing.columns([], before)
        return _page(request, library, form, ways, columns=columns, status=HTTPStatus.BAD_REQUEST)
    wanted = [_asked(library, form, way) for way in _wanted(form, ways)]
    columns = playing.columns([_whole(request, library, one, form) for one in wanted], before, wanted)
    for column, one in zip(columns, wanted, strict=False):
        column["snippets"] = _commands(request, library, one, form)
    return _page(request, library, form, ways, columns=columns)


class _Lines:
    """The body of a stream, which lets go of the answer when it is closed, read to its end or not."""

    def __init__(self, opening: dict[str, Any], answering: asking.Answering) -> None:
        self._lines = self._written(opening, answering)
        self.close = answering.close

    def __iter__(self) -> Iterator[bytes]:
        return self._lines

    @staticmethod
    def _written(opening: dict[str, Any], answering: asking.Answering) -> Iterator[bytes]:
        yield events.line(opening)
        try:
            for event in answering:
                if isinstance(event, events.Heard) and event.modules:
                    yield events.line({"kind": "modules", "places": playing.places(event.modules)})
                yield events.as_line(event)
        except HubError as error:
            yield events.line({"kind": "trouble", "words": str(error)})


def _sent(request: HttpRequest, library: Library) -> tuple[QuestionForm, list[WayForm]]:
    """What was typed, in a form for the question and one for each column."""
    offered = playing.offered(library)
    return QuestionForm(request.POST), [WayForm(request.POST, prefix=name, **offered) for name in COLUMNS]


def _valid(form: QuestionForm, ways: list[WayForm]) -> bool:
    good = form.is_valid()
    return all([good, *(way.is_valid() for way in _wanted(form, ways))])


def _wanted(form: QuestionForm, ways: list[WayForm]) -> list[WayForm]:
    """One column, or both."""
    return ways if form.cleaned_data.get("compare") else ways[:1]


def _complaints(form: QuestionForm, way: WayForm) -> str:
    """All that is wrong with what was typed, by the fields' labels."""
    return " ".join(
        f"{one.fields[name].label or name}: {' '.join(map(str, errors))}"
        for one in (form, way)
        for name, errors in one.errors.items()
    )


def _asked(library: Library, form: QuestionForm, way: WayForm) -> Asked:
    return Asked(library.slug, form.question(), way.way(), way.conversation)


def _begin(request: HttpRequest, library: Library, asked: Asked, form: QuestionForm) -> asking.Answering:
    return asking.begin(
        asked,
        library=library,
        visitor=request.user,
        address=address(request),
        private=form.cleaned_data["private"],
    )


def _commands(
    request: HttpRequest, library: Library, asked: Asked, form: QuestionForm
) -> list[dict[str, str]]:
    wanted = form.cleaned_data["private"] and asked.way.who != "base"
    private = wanted and playing.has_private(request.user, library)
    return playing.commands(request, asked, library, private=private)


def _whole(request: HttpRequest, library: Library, asked: Asked, form: QuestionForm) -> Answer:
    """Everything that comes, or why nothing more does."""
    answer = Answer()
    try:
        with closing(_begin(request, library, asked, form)) as answering:
            for event in answering:
                answer.hear(event)
    except HubError as error:
        answer.trouble = str(error)
    return answer


def _page(
    request: HttpRequest,
    library: Library,
    form: Form,
    ways: Sequence[Form],
    *,
    columns: list[dict[str, Any]],
    status: int = HTTPStatus.OK,
) -> HttpResponse:
    beside = [{"form": way, **column} for way, column in zip(ways, columns, strict=True)]
    context = {**playing.page(request, library), "form": form, "columns": beside}
    return render(request, "playground/play.html", context, status=status)
