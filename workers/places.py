"""The index store, and the base models of libraries: loaded once per process, not once per job."""

from functools import cache, lru_cache
from pathlib import Path

import torch
from django.conf import settings
from transformers.utils import logging as transformers_logging

from hub.library.models import Library
from routing.base import Base, load_base
from routing.encoding import Encoder, pinned_encoder
from routing.spec import BaseRef, BaseSpec, EncoderRef
from routing.store import IndexStore, open_store
from routing.weights import Layer, Layers, layers_of

transformers_logging.disable_progress_bar()  # nobody watches a worker's terminal


def index_store() -> IndexStore:
    """The store that the settings name."""
    return _opened(settings.STORE_URL)


@cache
def _opened(url: str) -> IndexStore:
    return open_store(url, cache=settings.DATA / "cache" / "objects")


def base_ref(library: Library) -> BaseRef:
    return BaseRef(library.base_source, library.base_revision or None)


def base_name(library: Library) -> str:
    """What people call the base: its hub id, or the name of its folder."""
    folder = Path(library.base_source)
    return folder.name if folder.is_absolute() or folder.exists() else library.base_source


def base_spec(library: Library) -> BaseSpec:
    """What was found when the base was inspected; an upload is only taken after that."""
    if library.base_spec is None:
        raise ValueError(f"the base of {library.slug} is not inspected")
    return BaseSpec.from_json(library.base_spec)


def loaded_base(library: Library) -> Base:
    """The base in float32 on this machine's device."""
    return _loaded(library.base_source, library.base_revision or None, library.base_digest)


def loaded_encoder(library: Library, ref: EncoderRef) -> Encoder:
    """A library's own sentence encoder beside its base. UnsupportedEncoder, WrongEncoder."""
    return _loaded_encoder(ref, library.base_source, library.base_revision or None, library.base_digest)


def base_layers(library: Library) -> Layers:
    """The base's target modules by name; it is loaded when the first is asked for, which few experts need."""

    def layer(name: str) -> Layer:
        return layers_of(loaded_base(library))(name)

    return layer


@lru_cache(maxsize=1)
def _loaded(source: str, revision: str | None, digest: str) -> Base:
    library = Library.objects.filter(base_digest=digest).defer("description")[:1].get()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return load_base(BaseRef(source, revision), spec=base_spec(library), device=device)


@lru_cache(maxsize=1)
def _loaded_encoder(ref: EncoderRef, source: str, revision: str | None, digest: str) -> Encoder:
    return pinned_encoder(ref, _loaded(source, revision, digest))
