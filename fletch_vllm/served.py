"""What a routed checkpoint holds for vLLM: its experts, and the way in which all tokens are routed.

vLLM is given the folder `base` of the checkpoint, which is an ordinary model; the experts lie beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from fletch_vllm.errors import NotServable
from fletch_vllm.moments import read_moments
from routing.base import refuse_another_base
from routing.checkpoint import manifest_inside
from routing.index import IndexManifest
from routing.objects import FolderStore
from routing.pack import Pack
from routing.packing import load_pack
from routing.routes import Route, Routing, route, routing_of, scores_calibrated
from routing.spec import BaseSpec
from routing.store import IndexStore

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Served:
    """A checkpoint that vLLM can serve, and how."""

    folder: Path
    store: IndexStore
    manifest: IndexManifest
    spec: BaseSpec
    routing: Routing

    @property
    def base(self) -> Path:
        """The folder that vLLM is given."""
        return self.folder / "base"

    def compare_base(self) -> None:
        """Compare the base's files with their digests, before an engine starts; WrongBase if one differs."""
        refuse_another_base(self.spec, self.base)

    def route(self, dtype: torch.dtype) -> Route:
        """The experts on the CPU, routed; NotServable, MissingObject or CorruptObject if one is amiss."""
        pack = load_pack(self.store, self.manifest, self.spec, device=CPU, dtype=dtype)
        wrong = [*_through_the_weight(pack)]
        if wrong:
            raise NotServable(wrong)
        if scores_calibrated(self.routing):
            pack = read_moments(self.folder, pack, self.manifest)
        return route(pack, self.routing)


def read_served(folder: Path, said: Mapping[str, Any]) -> Served:
    """What is in a folder by `routing.checkpoint.write_routed`, routed by its policy and as is `said`.

    NotServable says everything that is in the way; BadCheckpoint if the folder is none, BadRouting for a
    value that no router takes.
    """
    store = IndexStore(FolderStore(folder / "store"))
    manifest = store.read_manifest(manifest_inside(folder))
    spec = store.read_base(manifest.base)
    names = [entry.adapter for entry in manifest.experts]
    policy = replace(
        manifest.policy, general=tuple(name for name in manifest.policy.general if name in names)
    )
    routing = routing_of(policy, **said)
    wrong = [*_in_the_way(spec, routing), *_strangers(routing, names)]
    if wrong:
        raise NotServable(wrong)
    return Served(folder, store, manifest, spec, routing)


def _in_the_way(spec: BaseSpec, routing: Routing) -> Iterator[str]:
    if spec.family != "causal":
        yield f"the base {spec.name!r} is an encoder-decoder; vLLM's Transformers backend has only decoders"
    if routing.asked_prior is not None:
        yield (
            f"it is routed by {_by_prompt(routing)}: the whole prompt is read before its answer begins, and "
            "vLLM reads a prompt once. Name a router of tokens (--router arrow), or one expert (--router "
            "single --expert OWNER/NAME), or serve the checkpoint with `python -m workers.serving`"
        )
    if routing.subtracts:
        yield (
            f"general knowledge is subtracted ({routing.subtract:g} times the mean of "
            f"{', '.join(routing.general)}), which only Fletch's own server does: name one expert (--router "
            "single --expert OWNER/NAME), or serve the checkpoint with `python -m workers.serving`"
        )


def _by_prompt(routing: Routing) -> str:
    """What of a routing needs the prompt, in words."""
    said = [
        f"a short list of {routing.shortlist}" if routing.shortlist else "",
        f"a prior that is weighed in ({routing.prior_weight:g})" if routing.prior_weight else "",
        "a prior that may leave a prompt to the plain base" if routing.prior_abstain else "",
        f"the query router {routing.router!r}" if routing.asked_prior == routing.router else "",
    ]
    by = "" if routing.asked_prior == routing.router else f", by {routing.prior!r}"
    return " and ".join(part for part in said if part) + by


def _strangers(routing: Routing, names: list[str]) -> Iterator[str]:
    unknown = sorted(set(routing.experts or ()) - set(names))
    if unknown:
        yield f"not in this checkpoint: {', '.join(unknown)}; it holds {', '.join(names)}"


def _through_the_weight(pack: Pack) -> Iterator[str]:
    """Experts whose update works through the base's weight, which vLLM may have cut or quantised."""
    found = {
        pack.experts[module.members[row]]
        for module in pack.modules.values()
        if module.scaled is not None
        for row in module.scaled.members.tolist()
    }
    if found:
        yield (
            f"{', '.join(sorted(found))}: DoRA or (IA)^3, whose update works through the base's own weight; "
            "make a checkpoint of the other experts, or serve this one with `python -m workers.serving`"
        )
