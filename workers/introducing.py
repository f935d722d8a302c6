"""What query routers read of a release: its card's first words and, where its library says so, prompts."""

from pathlib import Path

from hub.adapters.cards import Card, read_card
from hub.adapters.models import Release
from hub.blobs import services as blobs
from routing.checks.samples import parse_samples
from routing.encoding import BaseEncoder
from routing.profiles import Profile
from routing.retrieval import profile_of
from workers.places import loaded_base

README = "readme.md"
NO_PROSE = ("#", "|", "```", "---", "<", "!", ">")


def introduction(release: Release, folder: Path) -> Profile:
    """The profile of a release whose files are laid out in `folder`."""
    base = loaded_base(release.library)
    return profile_of(
        base,
        BaseEncoder(base),
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
