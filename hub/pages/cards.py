"""Adapter cards: a stranger's Markdown made harmless.

Raw HTML is off in the parser and a sanitiser stands behind it; images become links, because a picture from
elsewhere tells its host who reads.
"""

import re

import nh3
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

from hub.adapters.cards import LARGEST_CARD

MOST_REFERENCES = 100
MOST_BRACKETS = 5_000  # each may begin a link, and the parser looks for its end
TAGS = {
    *("h2", "h3", "h4", "h5", "h6", "p", "br", "hr", "blockquote", "pre", "code", "a"),
    *("em", "strong", "del", "sub", "sup", "ul", "ol", "li", "dl", "dt", "dd"),
    *("table", "thead", "tbody", "tr", "th", "td", "bdi"),
}
ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}, "bdi": {"dir"}}
REACHED = {"pre": {"tabindex": "0"}}  # long lines scroll, also for people who have only a keyboard
SIGNED = re.compile(r"(?<![A-Za-z0-9_.,])[-+\N{MINUS SIGN}±]\d[\d.,]*\b%?")


def render(source: str) -> SafeString:
    """Markdown to HTML that runs nothing and fetches nothing."""
    if source.count("]:") > MOST_REFERENCES:
        return mark_safe("<p>This card has too many link references to be shown.</p>")
    if source.count("[") > MOST_BRACKETS:
        return mark_safe("<p>This card has too many square brackets to be shown.</p>")
    html = _parser().render(source[:LARGEST_CARD])
    return mark_safe(  # noqa: S308  the sanitiser's output
        nh3.clean(
            html,
            tags=TAGS,
            attributes=ATTRIBUTES,
            set_tag_attribute_values=REACHED,
            url_schemes={"http", "https", "mailto"},
            link_rel="nofollow ugc noopener",
        )
    )


def with_signs(text: str) -> SafeString:
    """Plain text as HTML in which a sign stays before its number, also where it runs from right to left."""
    return mark_safe(SIGNED.sub(r'<bdi dir="ltr">\g<0></bdi>', escapeHtml(text)))  # noqa: S308  it is escaped


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "linkify": False, "maxNesting": 20}).enable(
        ["table", "strikethrough"]
    )
    parser.add_render_rule("text", _text)
    parser.add_render_rule("image", _image_as_link)
    parser.add_render_rule("heading_open", _one_level_down)
    parser.add_render_rule("heading_close", _one_level_down)
    return parser


def _text(
    renderer: RendererHTML,  # noqa: ARG001
    tokens: list[Token],
    position: int,
    options: OptionsDict,  # noqa: ARG001
    env: EnvType,  # noqa: ARG001
) -> str:
    return with_signs(tokens[position].content)


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
