"""What query routers read of a release: its card's first words and, where its library says so, prompts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hub.adapters.cards import Card, read_card
from hub.adapters.introductions import Introduction
from hub.adapters.models import Release
from hub.blobs import services as blobs
from hub.library.models import Library
from routing.checks.samples import parse_samples
from routing.encoding import BaseEncoder, Encoder
from routing.profiles import Profile
from routing.retrieval import profile_of
from routing.spec import EncoderRef
from workers.places import index_store, loaded_base, loaded_encoder

README = "readme.md"
NO_PROSE = ("#", "|", "```", "---", "<", "!", ">")


def keep(profile: Profile) -> Introduction:
    """Put a profile into the index store."""
    digest, size = index_store().put_profile(profile)
    return Introduction(digest, size, profile.encoder)


def encoder_now(library: Library) -> Encoder:
    """What reads the library's prompts now."""
    return encoder_of(library, library.encoder)


def encoder_of(library: Library, named: Mapping[str, Any] | None) -> Encoder:
    """The encoder that an index version names, None: the base. UnsupportedEncoder, WrongEncoder."""
    return (
        BaseEncoder(loaded_base(library)) if named is None else loaded_encoder(library, EncoderRef(**named))
    )


def introduction(release: Release, folder: Path, encoder: Encoder) -> Profile:
    """The profile of a release whose files are laid out in `folder`."""
    return profile_of(
        loaded_base(release.library),
        encoder,
        adapter=release.adapter.full_name,
        description=description(release, folder),
        prompts=sample_prompts(release),
    )


def description(release: Release, folder: Path) -> str:
    """The first paragraph of the card and its tags or, without a card, what was said of the upload."""
    readme = next((path for path in folder.iterdir() if path.name.lower() == README), None)
    if readme is None:
        return release.commit.message
    card = read_card(readme.read_bytes())
    return " ".join([first_paragraph(card) or release.commit.message, *card.facts.get("tags", ())])


def first_paragraph(card: Card) -> str:
    """The first prose of a card, in one line; nothing if it has none."""
    for paragraph in card.body.split("\n\n"):
        text = " ".join(paragraph.split())
        if text and not text.startswith(NO_PROSE):
            return text
    return ""


def sample_prompts(release: Release) -> list[str]:
    """The prompts of the contributor's rows, where the library publishes their embeddings."""
    if not release.library.embed_samples or not release.samples_id:
        return []
    samples, _findings = parse_samples(blobs.local_path(str(release.samples_id)).read_bytes())
    return [sample.prompt for sample in samples]
