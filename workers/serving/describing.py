"""How much of experts' descriptions the prior `lm` may read for a request."""

from __future__ import annotations

from routing.routes import Routing, routing_of
from workers.serving.bodies import RoutingBody
from workers.serving.errors import invalid
from workers.serving.options import Limits
from workers.serving.versions import Version

PRIOR = "lm"


def require_few_descriptions(version: Version, wanted: Routing, body: RoutingBody, limits: Limits) -> None:
    """ApiError where `lm` would read more than any request may ask for, unless the policy asks it."""
    if wanted.asked_prior != PRIOR or body.prior_tokens == 0:
        return
    if version.model.base.family.name != "causal" or routing_of(version.policy).asked_prior == PRIOR:
        return
    found = version.queries.known.continuations.tokens
    if found > limits.described_tokens:
        raise invalid(
            "routing.router" if wanted.router == PRIOR else "routing.prior",
            f"found lm, which reads the descriptions of {len(version.pack.experts)} experts, {found} tokens, "
            f"behind each prompt; expected at most {limits.described_tokens}, or another prior",
        )
