"""Adapter cards: a stranger's Markdown made harmless, and the few facts in its front matter.

Raw HTML is off in the parser and a sanitiser stands behind it; images become links, because a picture from
elsewhere tells its host who reads. YAML is read by the safe loader and without aliases, which can explode.
"""

from dataclasses import dataclass, field

import nh3
import yaml
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

LARGEST_CARD = 64 * 1024
MOST_REFERENCES = 100
LONGEST_FACT = 200
MOST_FACTS = 20
FENCE = "---"
TAGS = {
    *("h2", "h3", "h4", "h5", "h6", "p", "br", "hr", "blockquote", "pre", "code", "a"),
    *("em", "strong", "del", "sub", "sup", "ul", "ol", "li", "dl", "dt", "dd"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}}


@dataclass(frozen=True)
class Card:
    """What a README says: its body in Markdown, and its front matter as short texts."""

    body: str
    facts: dict[str, list[str]] = field(default_factory=dict)
    complaint: str = ""


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases are not read here")
        return super().compose_node(parent, index)


def read_card(data: bytes) -> Card:
    """Parse a README. A card that is too large or whose front matter is broken says so in `complaint`."""
    if len(data) > LARGEST_CARD:
        return Card(
            "",
            complaint=f"This card has more than {LARGEST_CARD // 1024} KiB and is not shown; download it.",
        )
    text = data.decode("utf-8", errors="replace").replace("\r\n", "\n").removeprefix("\ufeff")
    head, body = _split(text)
    try:
        parsed = yaml.load(head, Loader=_PlainLoader)  # noqa: S506  a subclass of the safe loader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return Card(
            body, complaint=f"The front matter of this card could not be read: {str(error).splitlines()[0]}"
        )
    return Card(body, facts=_facts(parsed))


def _split(text: str) -> tuple[str, str]:
    lines = text.split("\n")
    if lines[0].strip() != FENCE or FENCE not in (line.strip() for line in lines[1:]):
        return "", text
    end = next(number for number, line in enumerate(lines[1:], start=1) if line.strip() == FENCE)
    return "\n".join(lines[1:end]), "\n".join(lines[end + 1 :])


def _facts(parsed: object) -> dict[str, list[str]]:
    """Scalars and lists of scalars; whatever is nested deeper is for programs and is left out."""
    if not isinstance(parsed, dict):
        return {}
    facts: dict[str, list[str]] = {}
    for name, value in list(parsed.items())[:MOST_FACTS]:
        values = value if isinstance(value, list) else [value]
        texts = [
            str(item)[:LONGEST_FACT] for item in values[:MOST_FACTS] if isinstance(item, str | int | float)
        ]
        if texts:
            facts[str(name)[:LONGEST_FACT]] = texts
    return facts


def render(source: str) -> SafeString:
    """Markdown to HTML that runs nothing and fetches nothing."""
    if source.count("]:") > MOST_REFERENCES:
        return mark_safe("<p>This card has too many link references to be shown.</p>")
    html = _parser().render(source[:LARGEST_CARD])
    return mark_safe(  # noqa: S308  the sanitiser's output
        nh3.clean(
            html,
            tags=TAGS,
            attributes=ATTRIBUTES,
            url_schemes={"http", "https", "mailto"},
            link_rel="nofollow ugc noopener",
        )
    )


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "linkify": False, "maxNesting": 20}).enable(
        ["table", "strikethrough"]
    )
    parser.add_render_rule("image", _image_as_link)
    parser.add_render_rule("heading_open", _one_level_down)
    parser.add_render_rule("heading_close", _one_level_down)
    return parser


def _image_as_link(
    renderer: RendererHTML, tokens: list[Token], position: int, options: OptionsDict, env: EnvType
) -> str:
    token = tokens[position]
    alternative = renderer.renderInlineAsText(token.children or [], options, env) or "image"
    link = Token("link_open", "a", 1, attrs={"href": token.attrs["src"]})
    words = Token("text", "", 0, content=f"[image: {alternative}]")
    return renderer.render([link, words, Token("link_close", "a", -1)], options, env)


def _one_level_down(
    renderer: RendererHTML, tokens: list[Token], position: int, options: OptionsDict, env: EnvType
) -> str:
    """The page has its own h1, so a card's headings begin at h2."""
    level = min(6, int(tokens[position].tag[1]) + 1)
    tokens[position].tag = f"h{level}"
    return renderer.renderToken(tokens, position, options, env)
