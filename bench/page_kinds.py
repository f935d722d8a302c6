"""Which pages and API lists `bench.pages` opens: every kind whose cost could grow with what a hub has."""

import random
from dataclasses import dataclass
from urllib.parse import quote

from bench.filled_shelves import Shelf
from bench.grown_library import ORGANISATION, Grown

DRAWN = 50


@dataclass(frozen=True)
class Kind:
    """Addresses of one kind. `busy` kinds are those that visitors open while others upload."""

    name: str
    paths: list[str]
    busy: bool = False
    as_staff: bool = False


def kinds(shelf: Shelf, grown: Grown) -> list[Kind]:
    return [*_searching(shelf), *_adapters(grown), *_library(grown), *_people(), *_staff(grown)]


def _searching(shelf: Shelf) -> list[Kind]:
    draw, words = random.Random(3), shelf.words
    pairs = [quote(" ".join(draw.sample(words[:40], 2))) for _ in range(DRAWN)]
    one = draw.sample(words, DRAWN)
    return [
        Kind("home", ["/"], busy=True),
        Kind(
            "all adapters", ["/adapters", "/adapters?page=2", "/adapters?sort=downloads"], busy=True
        ),
        Kind("all adapters, the last pages", ["/adapters?page=320", "/adapters?sort=name&page=300"]),
        Kind("one word", [f"/adapters?q={word}" for word in one], busy=True),
        Kind("two letters, which begin many words", [f"/adapters?q={word[:2]}" for word in one], busy=True),
        Kind("two words", [f"/adapters?q={pair}" for pair in pairs], busy=True),
        Kind(
            "two words and three facets",
            [f"/adapters?q={pair}&library=bench-1&licence=mit&rank=5-8" for pair in pairs],
            busy=True,
        ),
        Kind("three facets, by likes", [f"/adapters?library=bench-{n}&status=ready&rank=9-16&sort=likes" for n in range(3)], busy=True),
        Kind("a tag", [f"/adapters?tag={word}" for word in words[:DRAWN]]),
        Kind("nothing found", ["/adapters?q=xxxxxx&rank=5-8&owner=person-1"]),
        Kind("by meaning", [f"/adapters?q={pair}&by=meaning" for pair in pairs], busy=True),
        Kind("API: adapters, one word", [f"/api/v1/adapters?search={word}" for word in one], busy=True),
        Kind("API: adapters, a hundred", ["/api/v1/adapters?limit=100"]),
        Kind("wire: one word", [f"/api/models?search={word}&limit=30" for word in one], busy=True),
        Kind("wire: a hundred, full", ["/api/models?limit=100&full=true"]),
    ]  # fmt: skip


def _adapters(grown: Grown) -> list[Kind]:
    draw = random.Random(4)
    experts, any_of_them = draw.choices(grown.experts, k=DRAWN), draw.choices(grown.adapters, k=DRAWN)
    return [
        Kind("an adapter", [f"/{name}" for name in any_of_them], busy=True),
        Kind("an expert, all that is known of it", [f"/{name}" for name in experts], busy=True),
        Kind("API: an adapter", [f"/api/v1/adapters/{name}" for name in any_of_them]),
        Kind("wire: an adapter", [f"/api/models/{name}" for name in any_of_them]),
        Kind("card of an adapter", [f"/cards/adapters/{name}.png" for name in any_of_them]),
    ]


def _library(grown: Grown) -> list[Kind]:
    page, api, number = (
        f"/libraries/{grown.library}",
        f"/api/v1/libraries/{grown.library}",
        grown.version,
    )
    measured = f"{page}/evaluations/{grown.evaluation}"
    contributions = f"{page}/versions/{number}/contributions"
    return [
        Kind("libraries, as JSON", ["/api/v1/libraries"]),
        Kind("a library", [page, f"{page}?page=50"], busy=True),
        Kind("its map", [f"{page}/map", f"{page}/map?page=40"]),
        Kind("one cluster of the map", [f"{page}/map?cluster={n}" for n in range(10)]),
        Kind("API: clusters, all experts", [f"{api}/clusters"]),
        Kind("who speaks where", [f"{page}/speakers"]),
        Kind("playground", [f"{page}/play"]),
        Kind("versions", [f"{page}/versions", f"{page}/versions?page=50"]),
        Kind("API: versions", [f"{api}/versions"]),
        Kind("API: one version, all experts", [f"{api}/versions/{number}"]),
        Kind("API: two versions compared", [f"{api}/diff?from={number - 1}&to={number}"]),
        Kind("API: first and last compared", [f"{api}/diff?from=1&to={number}"]),
        Kind("decisions", [f"{page}/decisions"]),
        Kind("leaderboard", [f"{page}/evaluations"]),
        Kind("an evaluation", [measured]),
        Kind("all ways at one task", [f"{measured}?member={grown.task}"]),
        Kind("its questions", [f"{measured}/questions?member={grown.task}"]),
        Kind("API: an evaluation", [f"/api/v1/evaluations/{grown.evaluation}"]),
        Kind(
            "contributions",
            [contributions, f"{contributions}?sort=expert&page=9"],
        ),
        Kind("API: contributions, all experts", [f"/api/v1/ablations/{grown.ablation}"]),
        Kind("checkpoints", [f"{page}/checkpoints"]),
        Kind("checkpoint builder", [f"{page}/checkpoints/new", f"{page}/checkpoints/new?kind=adapter"]),
        Kind("a checkpoint", [f"/checkpoints/{grown.checkpoint}"]),
        Kind("cards of hub and library", ["/cards/hub.png", f"/cards/libraries/{grown.library}.png"]),
        Kind("feeds", ["/feed", f"{page}/feed"]),
        Kind("sitemap", ["/sitemap.xml", "/sitemap-adapters.xml"]),
        Kind("status", ["/status"]),
    ]


def _people() -> list[Kind]:
    return [
        Kind("a person", [f"/person-{n}" for n in range(20)]),
        Kind("an organisation", [f"/{ORGANISATION}"]),
        Kind("card of a person", [f"/cards/people/person-{n}.png" for n in range(20)]),
    ]


def _staff(grown: Grown) -> list[Kind]:
    paths = {
        "all adapters, signed in": "/adapters",
        "an expert, signed in": f"/{grown.experts[0]}",
        "notifications": "/notifications",
        "desk: what waits": "/desk",
        "desk: reports": "/desk/reports",
        "desk: people": "/desk/people",
        "desk: jobs": "/desk/jobs",
        "desk: failed jobs": "/desk/jobs?state=failed",
        "upload": f"/libraries/{grown.library}/upload",
        "tokens": "/settings/tokens",
    }
    return [Kind(name, [path], as_staff=True) for name, path in paths.items()]
