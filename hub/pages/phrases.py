"""Numbers, sizes and times in the words that people use."""

from datetime import datetime

from django.contrib.humanize.templatetags.humanize import intcomma

UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")
STEP = 1024
SPANS = ((60, 1, "second"), (3600, 60, "minute"), (86_400, 3600, "hour"), (30 * 86_400, 86_400, "day"))
SHORT_DIGEST = 12
ALMOST_ALL = 0.995  # above it, two digits would say 100
NOTHING = "\N{EN DASH}"


def size(count_of_bytes: int) -> str:
    """Bytes in the largest unit that leaves a number above one."""
    for power, unit in reversed(list(enumerate(UNITS))):
        if power and count_of_bytes >= STEP**power:
            return f"{count_of_bytes / STEP**power:.1f} {unit}"
    return f"{count_of_bytes} {UNITS[0]}"


def count(number: int) -> str:
    """An integer with its thousands parted."""
    return str(intcomma(number, use_l10n=False))


def compact(value: object) -> str:
    """A measurement: three significant digits of a fraction, a dash where nothing finite was measured."""
    if value is None:
        return NOTHING
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def as_share(share: float) -> str:
    """A share by two digits that say something; only the whole is called so."""
    if share >= 1:
        return "100 %"
    return f"{share * 100:.2g} %" if share < ALMOST_ALL else "over 99 %"


def short(digest: str) -> str:
    """The beginning of a digest: enough to tell two apart."""
    return digest[:SHORT_DIGEST]


def signed(figure: float, *, digits: int) -> str:
    """A difference with its sign; what rounds to nought is never less than it."""
    return f"{figure:+z.{digits}f}".replace("-", "\N{MINUS SIGN}")


def plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def ago(at: datetime, *, now: datetime) -> str:
    """How long ago, coarsely; a date once it is a month."""
    seconds = (now - at).total_seconds()
    if seconds < 0:
        return _later(-seconds) or f"on {_date(at)}"
    if seconds < 1:
        return "just now"
    phrase = _later(seconds)
    return phrase.removeprefix("in ") + " ago" if phrase else f"on {_date(at)}"


def _later(seconds: float) -> str:
    for below, unit, noun in SPANS:
        if seconds < below:
            return "in " + plural(int(seconds // unit), noun)
    return ""


def _date(at: datetime) -> str:
    return f"{at.day} {at:%b %Y}"


def duration(seconds: float) -> str:
    """A length of time in its two largest units."""
    whole = int(seconds)
    if whole < 1:
        return "under a second"
    hours, minutes = whole // 3600, whole % 3600 // 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def spoken(check: str) -> str:
    """A check's name as a heading: `weights-match-config` is `Weights match config`."""
    text = check.replace("-", " ").replace("_", " ").strip()
    return text[:1].upper() + text[1:]
