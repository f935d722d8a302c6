"""The list of adapters: filtered and sorted first, and then cut into pages."""

from collections.abc import Sequence

from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, JsonResponse

from hub.adapters import history, permissions
from hub.adapters.models import Adapter, Commit, Ref, Release
from hub.errors import Invalid, NotOffered
from hub.hf import describing, paging
from hub.hf.describing import BRIEF, FULL, Shown
from hub.hf.door import caller, is_true
from hub.library.permissions import Visitor
from hub.search import words
from hub.search.matching import matching
from hub.search.ranking import Ranked

ADAPTERS_A_PAGE = 100
VERDICT, LIBRARY = "fletch:", "fletch-library:"
NOT_SEARCHED = ("apps", "inference", "inference_provider", "num_parameters")
SORTS = {
    "createdAt": "-created_at",
    "lastModified": "-last_modified",
    "likes": "-like_count",
    "downloads": "-downloads",
    "trendingScore": "-last_modified",
}


def models(request: HttpRequest) -> JsonResponse:
    """The adapters that the caller may know of and that match everything that was asked."""
    found = _sorted(_matching(request, caller(request)), request.GET.get("sort") or "lastModified")
    page, link = paging.page(request, found, ADAPTERS_A_PAGE)
    keys = _keys(request)
    heads = _heads(page, with_files=not {"siblings", "usedStorage"}.isdisjoint(keys))
    shown = [Shown(one, heads.get(one.pk), likes=vars(one)["like_count"]) for one in page]
    return paging.answer([describing.model(one, keys) for one in shown], link)


def _matching(request: HttpRequest, visitor: Visitor) -> QuerySet[Adapter]:
    asked = request.GET
    for name in NOT_SEARCHED:
        if asked.get(name):
            raise NotOffered(f"{name}: adapters are not searched by that here")
    found = permissions.visible_adapters(visitor)
    if author := asked.get("author"):
        found = found.filter(owner__username=author.lower())
    found = matching(found, words.typed(asked.get("search", "")))
    tags = [
        tag for name in ("filter", "pipeline_tag") for said in asked.getlist(name) for tag in said.split(",")
    ]
    for tag in filter(None, tags):
        found = _tagged(found, tag)
    if "gated" in asked:
        gated = ~Q(gating=Adapter.Gating.OPEN)
        found = found.filter(gated if is_true(request, "gated") else ~gated)
    return found


def _tagged(adapters: QuerySet[Adapter], tag: str) -> QuerySet[Adapter]:
    if tag.startswith(VERDICT):
        return _examined_so(adapters, tag)
    if tag.startswith(LIBRARY):
        return adapters.filter(library__slug=tag.removeprefix(LIBRARY))
    return adapters.filter(tags__tag=tag)


def _examined_so(adapters: QuerySet[Adapter], tag: str) -> QuerySet[Adapter]:
    """Those whose main stands so."""
    word = tag.removeprefix(VERDICT)
    standing = {"quarantined": Q(quarantined_at__isnull=False), "yanked": Q(yanked_at__isnull=False)}
    releases = Release.objects.filter(standing.get(word, Q(status=word)))
    on_main = Ref.objects.filter(kind=Ref.Kind.BRANCH, name=history.MAIN, commit__examined_as__in=releases)
    return adapters.filter(pk__in=on_main.values("adapter"))


def _sorted(adapters: QuerySet[Adapter], sort: str) -> Ranked:
    if sort not in SORTS:
        raise Invalid(f"sort is {sort!r}; expected one of {', '.join(SORTS)}")
    main = Ref.objects.filter(adapter=OuterRef("pk"), kind=Ref.Kind.BRANCH, name=history.MAIN)
    found = adapters.annotate(
        last_modified=Subquery(main.values("commit__created_at")[:1]),
        like_count=Coalesce("entry__likes", 0),
    )
    shown = found.select_related("owner", "library").defer("library__base_spec").prefetch_related("tags")
    return Ranked(found.order_by(SORTS[sort], "-pk").values_list("pk", flat=True), shown)


def _keys(request: HttpRequest) -> Sequence[str]:
    if expand := request.GET.getlist("expand"):
        return expand
    keys = list(FULL if is_true(request, "full") else BRIEF)
    return keys + [key for key in ("cardData", "config") if is_true(request, key)]


def _heads(adapters: Sequence[Adapter], *, with_files: bool) -> dict[int, Commit]:
    """What main points at, by adapter, in one query or two."""
    refs = Ref.objects.filter(adapter__in=adapters, kind=Ref.Kind.BRANCH, name=history.MAIN)
    refs = refs.select_related("commit__examined_as").defer("commit__examined_as__fingerprint")
    if with_files:
        refs = refs.prefetch_related("commit__files__blob")
    return {ref.adapter_id: ref.commit for ref in refs}
