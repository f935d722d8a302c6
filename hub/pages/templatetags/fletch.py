"""What templates need to say things: icons, sizes, times, digests."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django import template
from django.templatetags.static import static
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from hub.downloads.models import MEANING
from hub.http import own_address
from hub.pages import cards, charts, findings, hearing, maps, phrases, stock
from hub.playground import asking
from hub.uses.models import MEANING as USES

register = template.Library()
CELL = '<rect class="{}" x="{}%" width="{}%" height="{}" rx="2" fill-opacity="{}"><title>{}</title></rect>'
FIGURE = '<td class="end">{}</td>'
MODULE = '<tr><th scope="row"><code>{}</code></th>' + 4 * FIGURE + "</tr>"
WEIGHT = '<td class="h{}">{}</td>'


@register.simple_tag
def icon(name: str) -> SafeString:
    """A symbol of our sprite; decoration only, so hidden from screen readers."""
    return format_html(
        '<svg class="icon" aria-hidden="true" focusable="false"><use href="{}#{}"/></svg>',
        static("fletch/icons.svg"),
        name,
    )


@register.simple_tag
def moment(at: datetime) -> SafeString:
    """An instant as people say it, with the exact time in UTC behind it. It begins with a number, which would
    stand behind its words where a page runs from right to left.
    """
    exact = at.strftime("%Y-%m-%d %H:%M:%S UTC")
    return format_html(
        '<time datetime="{}" title="{}" dir="auto">{}</time>',
        at.isoformat(),
        exact,
        phrases.ago(at, now=timezone.now()),
    )


@register.simple_tag(takes_context=True)
def social_image(context: template.RequestContext, name: str, *of: str) -> str:
    """The whole address of a social card: other sites fetch it."""
    return own_address(context.request) + reverse(f"social_{name}", args=of)


@register.simple_tag(takes_context=True)
def may_ask(context: template.RequestContext) -> bool:
    """Whether the playground is the visitor's to use."""
    return asking.may_ask(context.request.user)


@register.simple_tag
def meaning_of_downloads() -> str:
    """What stands beside their number wherever a person sees it."""
    return MEANING


@register.simple_tag
def cells(row: Sequence[charts.Cell], width: float, height: int) -> SafeString:
    """A row of a heat chart. A page has hundreds of cells, and a loop in a template takes a page's time."""
    return format_html_join("", CELL, (_drawn(cell, width, height) for cell in row))


def _drawn(cell: charts.Cell, width: float, height: int) -> tuple[object, ...]:
    return "absent" if cell.absent else "cell", cell.x, width, height, cell.opacity, cell.label


@register.simple_tag
def modules(all_of_them: Sequence[tuple[str, Mapping[str, Any]]]) -> SafeString:
    """The rows of the table of an expert's target modules, of which large bases have hundreds."""
    return format_html_join("", MODULE, (_figures(name, facts) for name, facts in all_of_them))


def _figures(name: str, facts: Mapping[str, Any]) -> tuple[object, ...]:
    first = next(iter(facts.get("sigma", ())), None)
    said = (phrases.compact(value) for value in (facts.get("norm"), first, facts.get("error")))
    return name, facts.get("rank", ""), *said


@register.simple_tag
def weights(row: Sequence[hearing.Cell]) -> SafeString:
    """A row of the table of who speaks where, in percent; of these a page has thousands."""
    return format_html_join("", WEIGHT, ((cell.step, int(cell.percent + 0.5)) for cell in row))


@register.simple_tag
def colour_of(cluster: int) -> int:
    """Which of the colours of series a cluster has on maps."""
    return maps.colour_of(cluster)


@register.simple_tag
def meaning_of_uses() -> str:
    """What stands beside shares of tokens."""
    return USES


@register.simple_tag
def markdown(source: str) -> SafeString:
    """A stranger's Markdown as harmless HTML."""
    return cards.render(source)


register.filter("bytes", phrases.size)
register.filter("count", phrases.count)
register.filter("duration", phrases.duration)
register.filter("spoken", phrases.spoken)
register.filter("compact", phrases.compact)
register.filter("short", phrases.short)
register.filter("as_share", phrases.as_share)
register.filter("complaints", findings.complaints)
register.filter("coded", findings.coded)
register.filter("with_signs", cards.with_signs)
register.filter("sentence", stock.sentence, is_safe=True)
register.filter("in_our_words", stock.in_our_words)


@register.filter
def words(text: str) -> Sequence[str]:
    """The words of a text, to loop over."""
    return text.split()


@register.filter
def collapse(text: str) -> str:
    """One line: whitespace of any length as one space."""
    return " ".join(text.split())


@register.filter
def percent(part: float) -> str:
    """A part of one as a whole percentage."""
    return f"{part:.0%}"


@register.filter
def points(share: float) -> SafeString:
    """A difference of shares with its sign, in points of a hundred."""
    return _isolated(phrases.signed(share * 100, digits=1))


@register.filter
def signed(figure: float) -> SafeString:
    """A difference with its sign, by three digits."""
    return _isolated(phrases.signed(figure, digits=3))


@register.simple_tag
def interval(low: float, high: float) -> SafeString:
    """From where to where a difference may be, by three digits."""
    return _isolated(f"[{phrases.signed(low, digits=3)}, {phrases.signed(high, digits=3)}]")


def _isolated(figures: str) -> SafeString:
    """A sign stays before its number in text that runs from right to left, too."""
    return format_html('<bdi dir="ltr">{}</bdi>', figures)
