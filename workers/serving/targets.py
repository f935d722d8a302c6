"""From a model name and the routing fields of a request to what will answer it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from routing.errors import (
    BadManifest,
    BadRouting,
    ExpertUnavailable,
    MissingObject,
    RoutingError,
    UnknownExpert,
    UnknownVersion,
    VersionHeldBack,
)
from routing.index import RoutingPolicy
from routing.residence import NoRoom, TooLarge
from routing.routed import RoutedModel
from routing.routes import Route, Routing, needs_moments, routing_of
from routing.turns import ANYBODY, Asker
from workers.serving import names
from workers.serving.bodies import RoutingBody
from workers.serving.describing import require_few_descriptions
from workers.serving.errors import ApiError, invalid, not_found
from workers.serving.guests import HEADER, Guests, believed, unusable
from workers.serving.libraries import Libraries
from workers.serving.library import Library
from workers.serving.options import Limits
from workers.serving.versions import Version
from workers.serving.widths import require_narrow

OF_POLICY = {field.name for field in fields(RoutingPolicy)}


@dataclass(frozen=True)
class Target:
    """Who answers: a model with a route through one version, or (both None) the plain base; and who asks."""

    library: str
    model: RoutedModel
    version: Version | None
    route: Route | None
    routing: Routing | None = None
    asker: Asker = ANYBODY

    @property
    def said(self) -> tuple[str, int | None, str]:
        """Library, index version and router, for the log."""
        router = "base" if self.routing is None else self.routing.router
        return self.library, None if self.version is None else self.version.number, router

    def ways(self, prompts: Sequence[Sequence[int]], *, param: str = "prompt") -> list[Route | None]:
        """The routes of these prompts, shaped by them where the routing says so, ready to be run.

        `param` is the field that they came in, to name where they are too many.
        A prior reads prompts when it is the asker's turn. Where not all experts are in memory this reads
        those that are wanted, and may wait for room.
        """
        version, wanted = self.version, self.routing
        if version is None or wanted is None or (version.resident is None and wanted.asked_prior is None):
            return [self.route] * len(prompts)
        try:
            return [*version.queries.routes(wanted, prompts, self.asker)]
        except BadRouting as error:
            raise invalid(f"routing.{error.field}", str(error).removeprefix(f"{error.field}: ")) from error
        except TooLarge as error:
            raise _too_large(error, wanted, param) from error
        except NoRoom as error:
            message = f"memory for experts: {error}; try again"
            raise ApiError(429, message, code="experts_busy", retry_after=1) from error
        except ExpertUnavailable as error:
            message = f"an expert of this answer cannot be read: {error}"
            raise ApiError(503, message, code="expert_unavailable", retry_after=5) from error


def _too_large(error: TooLarge, wanted: Routing, prompts: str) -> ApiError:
    """Whose fault it is that experts do not fit: who is named, or that so many prompts come together."""
    param = prompts if wanted.experts is None else "routing.experts"
    remedy = "send fewer prompts in one request" if wanted.experts is None else "name fewer"
    message = f"memory for the experts that answer: {error} (--expert-megabytes); {remedy}"
    return invalid(param, message, code="experts_too_large")


def resolve(
    libraries: Libraries,
    model: str,
    routing: RoutingBody,
    *,
    guest_list: str | None,
    limits: Limits,
    asker: Asker = ANYBODY,
) -> Target:
    """Find who is asked for; ApiError says which field names what is not there.

    May load a pinned version, or the private experts of a guest list; Left if the asker leaves before that.
    """
    address = names.parse(model)
    library = None if address is None else libraries.served.get(address.library)
    if address is None or library is None:
        known = ", ".join(sorted(libraries.served)) or "none yet"
        raise not_found(model, f"not served here; libraries: {known}")
    if library.model is None:
        raise _not_ready(model, library)
    if isinstance(address, names.Base):
        if routing != RoutingBody():
            raise invalid("routing", "the plain base is not routed; ask for the library instead")
        if guest_list is not None:
            raise invalid(HEADER, "the plain base has no experts to add to; leave the list out")
        return Target(library.name, library.model, None, None, asker=asker)
    guests = None if guest_list is None else _guests(library, guest_list)
    version = _version(library, model, address, routing, asker)
    if guests is not None:
        asker.require_here()
        version = libraries.joined.version(version, guests)
    wanted = _routing_of(version, address, routing)
    way = _route(version, wanted, address, routing, asker)
    require_narrow(version, way, wanted, routing, limits)
    require_few_descriptions(version, wanted, routing, limits)
    return Target(library.name, version.model, version, way, wanted, asker)


def _guests(library: Library, guest_list: str) -> Guests:
    try:
        key = library.guest_key()
    except BadManifest as error:
        raise unusable(error) from error
    return believed(guest_list, library=library.name, key=key)


def _version(
    library: Library,
    model: str,
    address: names.Routed | names.Single,
    routing: RoutingBody,
    asker: Asker,
) -> Version:
    named = address.version if isinstance(address, names.Routed) else None
    if named is not None and routing.version is not None and named != routing.version:
        raise invalid("routing.version", f"found {routing.version}, but the model's name says {named}")
    number = named or routing.version
    if number is not None:
        return _pinned(library, model, number, "model" if named else "routing.version", asker)
    if library.live is None:
        raise _not_ready(model, library)
    return library.live


def _pinned(library: Library, model: str, number: int, param: str, asker: Asker) -> Version:
    try:
        return library.version(number, asker)
    except UnknownVersion as error:
        refused = not_found(model, str(error)) if param == "model" else invalid(param, str(error))
        raise refused from error
    except VersionHeldBack as error:
        raise ApiError(403, str(error), code="version_held_back", param=param) from error
    except (RoutingError, MissingObject) as error:
        message = f"{library.name} version {number} cannot be served: {error}"
        raise ApiError(503, message, code="version_unavailable", param=param, retry_after=5) from error


def _routing_of(version: Version, address: names.Routed | names.Single, body: RoutingBody) -> Routing:
    try:
        return _routing(version, address, body)
    except BadRouting as error:
        problem = str(error).removeprefix(f"{error.field}: ")
        raise invalid(f"routing.{error.field}", problem) from error


def _route(
    version: Version,
    wanted: Routing,
    address: names.Routed | names.Single,
    body: RoutingBody,
    asker: Asker,
) -> Route:
    try:
        return version.queries.unread_route(wanted, asker)
    except UnknownExpert as error:
        _require_none_left_out(version, wanted)
        if isinstance(address, names.Single):
            raise not_found(f"{address.library}/{address.expert}", str(error)) from error
        strangers = not set(body.general or ()) <= version.pack.places.keys()
        param = "routing.general" if strangers else "routing.force" if body.force else "routing.experts"
        raise invalid(param, str(error), code="unknown_expert") from error


def _require_none_left_out(version: Version, wanted: Routing) -> None:
    """ApiError where somebody is asked for whom this process cannot hear, though the version has them."""
    for name in wanted.experts or ():
        if name in version.left_out:
            message = f"expert {name} cannot be heard here: {version.left_out[name]}"
            raise ApiError(503, message, code="expert_unavailable")


def _routing(version: Version, address: names.Routed | names.Single, body: RoutingBody) -> Routing:
    if isinstance(address, names.Single):
        if body.experts or body.force or body.router:
            raise invalid(
                "routing", "the model's name says which expert answers; ask for the library instead"
            )
        return Routing("single", top_k=1, experts=(address.expert,), **_subtracted(version, body))
    if body.force:
        if body.experts or body.router not in (None, "uniform", "single"):
            raise invalid("routing.force", "leaves nothing to choose; leave out `router` and `experts`")
        return Routing("uniform", top_k=1, experts=tuple(body.force), **_subtracted(version, body))
    if body.shortlist and body.experts is not None:
        raise invalid("routing.shortlist", "and `experts` both say who may speak; leave one out")
    return _asked(version, body)


def _asked(version: Version, body: RoutingBody) -> Routing:
    """The library's policy with what the request says in its place."""
    said = body.model_dump(include=OF_POLICY, exclude_none=True)
    if body.general is not None:
        said["general"] = tuple(body.general)
    experts = None if body.experts is None else tuple(body.experts)
    asked = routing_of(version.policy, experts=experts, **said)
    if asked.asked_prior == "classifier" and version.pack.classifier is None:
        field = "router" if asked.router == "classifier" else "prior"
        raise invalid(f"routing.{field}", f"version {version.number} has no classifier")
    if version.pack.neutral is None and needs_moments(asked):
        asks_for_it = ("shortlist", "prior_weight", "prior_abstain", "calibrated")
        field = next((name for name in asks_for_it if said.get(name)), "router")
        raise invalid(f"routing.{field}", f"version {version.number} was published without neutral text")
    if body.subtract and not asked.general:
        raise invalid("routing.subtract", "names nobody: say in `general` whose knowledge it is")
    return asked


def _subtracted(version: Version, body: RoutingBody) -> dict[str, Any]:
    """What named experts are less of: nothing, unless the request says how much."""
    if not body.subtract:
        return {}
    general = version.policy.general if body.general is None else tuple(body.general)
    if not general:
        raise invalid("routing.subtract", "names nobody: say in `general` whose knowledge it is")
    return {"general": general, "subtract": body.subtract}


def _not_ready(model: str, library: Library) -> ApiError:
    reason = library.obstacle or "no index version is published yet"
    message = f"model {model!r} is not ready: {reason}"
    return ApiError(503, message, code="model_not_ready", param="model", retry_after=2)
