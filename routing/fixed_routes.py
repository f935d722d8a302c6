"""Routes whose choice is fixed at every module: whether a policy makes such, and some to try a step with."""

from __future__ import annotations

from dataclasses import replace

from routing.pack import Pack
from routing.routers import QUERY_ROUTERS
from routing.routes import Route, Routing, route, speakers

MOST_SLOTS = 4  # experts of a token: more are a mean rather than a routing
TRIED = 5  # different routes


def slots_of(pack: Pack, routing: Routing) -> int:
    """From how many experts at most a token is mixed at a module, by a policy that asks no token.

    0: tokens have a say, general knowledge is subtracted, or there are more experts than `MOST_SLOTS`.
    Errors as `routing.routes.route`.
    """
    there = speakers(pack, routing)
    names = [name for place, name in enumerate(pack.experts) if there is None or place in there]
    by_prompt = routing.top_k if routing.router in QUERY_ROUTERS else routing.shortlist
    chosen = tuple(names[: by_prompt or len(names)])
    if routing.subtracts or not chosen or len(chosen) > MOST_SLOTS:
        return 0
    # whom a prompt chooses is named in its answer's route; without a short list nobody is
    asked = replace(routing, experts=chosen, shortlist=0) if by_prompt else routing
    way = route(pack, asked)
    return len(chosen) if len(way.settled) == len(way.seats) else 0


def everywhere(pack: Pack) -> Route:
    """A route with a seat at each module that any expert touches."""
    return route(pack, Routing("uniform", top_k=1))


def tried_routes(pack: Pack, slots: int) -> list[Route | None]:
    """Routes of as many experts as there are slots, and of fewer; the plain base is among them."""
    found: list[Route | None] = []
    for place in range(TRIED):
        many = slots - place % slots
        names = tuple(pack.experts[(place + more) % len(pack.experts)] for more in range(many))
        found.append(route(pack, Routing("uniform", top_k=1, experts=names)))
    found[1] = None
    return found
