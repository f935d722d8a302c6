"""From how many experts a request may have each token mixed: everybody's passes wait for that."""

from __future__ import annotations

from routing.routers import QUERY_ROUTERS
from routing.routes import Route, Routing, routing_of
from workers.serving.bodies import RoutingBody
from workers.serving.errors import ApiError, invalid
from workers.serving.options import Limits
from workers.serving.versions import Version


def require_narrow(version: Version, way: Route, wanted: Routing, body: RoutingBody, limits: Limits) -> None:
    """ApiError where a token would be mixed from more experts than any may, or the library's policy says.

    `way` is the route before any prompt is read.
    """
    found = _mixed(way, wanted, body)
    if found <= limits.mixed_experts:
        return
    usual = routing_of(version.policy)
    most = max(limits.mixed_experts, _mixed(version.queries.unread_route(usual), usual, RoutingBody()))
    if found > most:
        raise _too_wide(found, most, len(way.seats), wanted, body)


def _mixed(way: Route, wanted: Routing, body: RoutingBody) -> int:
    """From how many experts each token is mixed at all modules together, at most."""
    if not wanted.shortlist or wanted.router in QUERY_ROUTERS or body.prior_tokens == 0:
        return way.entries
    return min(way.entries, wanted.shortlist * len(way.seats))


def _too_wide(found: int, most: int, modules: int, wanted: Routing, body: RoutingBody) -> ApiError:
    """Which field asks for so many, and how many it may ask for."""
    each = max(1, most // modules)
    if body.force:
        param, said, remedy = "force", f"{len(body.force)} experts", f"at most {each}"
    elif wanted.router != "uniform":
        param, said, remedy = "top_k", str(wanted.top_k), f"at most {each}"
    elif body.experts is not None:
        param, said, remedy = "experts", f"{len(body.experts)} in equal shares", f"at most {each}"
    else:
        param, said, remedy = "router", "uniform", f"another router, or at most {each} in `experts`"
    message = f"found {said}, which mixes each token from {found} experts at {modules} modules together"
    return invalid(f"routing.{param}", f"{message}; expected at most {most}: {remedy}")
