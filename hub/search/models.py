"""What adapters are found by: one row for each, written in the transaction that changes what it says."""

from typing import ClassVar

from django.db import models
from django.db.models import CheckConstraint, F, Index, Q, UniqueConstraint
from django.db.models.functions import Now

from hub.adapters.models import Adapter
from hub.blobs.models import Blob


class Entry(models.Model):
    """An adapter as lists show, filter and sort it. Who may know of it, its library and its owner stay with
    the adapter.

    The database keeps its own index over `words`: an FTS5 table of SQLite, a tsvector of PostgreSQL
    (migration 0002). Both hold exactly the words that `hub.search.words` makes, so that both find the same.
    """

    class Standing(models.TextChoices):
        """What became of the newest release."""

        READY = "ready", "Ready"
        EXAMINED = "examined", "Being examined"
        REJECTED = "rejected", "Rejected"
        QUARANTINED = "quarantined", "Quarantined"
        YANKED = "yanked", "Withdrawn"
        EMPTY = "empty", "No release"

    class Kind(models.TextChoices):
        LORA = "lora", "LoRA"
        DORA = "dora", "DoRA"
        IA3 = "ia3", "(IA)\N{SUPERSCRIPT THREE}"
        UNKNOWN = "", "Unknown"

    adapter = models.OneToOneField(Adapter, on_delete=models.CASCADE, primary_key=True, related_name="entry")
    form = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        help_text="which rules wrote it, as hub.search.describing counts them; nothing: the first",
    )
    words = models.TextField(help_text="every word by which it is found, each once")
    about = models.CharField(max_length=300, blank=True, help_text="the first sentences of its card")
    task = models.CharField(max_length=200, blank=True)
    licence = models.CharField(max_length=200, blank=True)
    kind = models.CharField(max_length=4, choices=Kind, default=Kind.UNKNOWN, blank=True)
    rank = models.PositiveIntegerField(null=True, blank=True, help_text="the largest of any target module")
    standing = models.CharField(max_length=11, choices=Standing, default=Standing.EMPTY)
    newest_at = models.DateTimeField(null=True, blank=True, help_text="when the newest release came")
    likes = models.PositiveIntegerField(default=0)
    used = models.PositiveBigIntegerField(
        null=True,
        blank=True,
        help_text="tokens of the last 30 days that chose it, on average over the modules; none: nothing",
    )

    class Meta:
        ordering: ClassVar = ["pk"]
        verbose_name_plural = "entries"
        indexes: ClassVar = [Index(fields=["-newest_at", "-adapter"], name="entries_by_newest_release")]
        constraints: ClassVar = [
            CheckConstraint(
                condition=Q(standing__in=["ready", "examined", "rejected", "quarantined", "yanked", "empty"]),
                name="entry_standing_is_known",
            ),
        ]

    def __str__(self) -> str:
        return f"entry of {self.adapter_id}"


class QueryTable(models.Model):
    """What typed words mean to the encoder that reads the cards: a row of numbers for each of its tokens.

    The newest one of the encoder that the settings name is in use. Its vectors are an array of float16 as
    numpy writes it, [tokens, width]; its tokenizer is a tokenizer.json.
    """

    source = models.CharField(max_length=500, help_text="the encoder's folder on the workers, or its hub id")
    revision = models.CharField(max_length=100, blank=True)
    encoder = models.CharField(max_length=100, help_text="its name, made from what is in its files")
    tokenizer = models.ForeignKey(Blob, on_delete=models.PROTECT, related_name="+")
    vectors = models.ForeignKey(Blob, on_delete=models.PROTECT, related_name="+")
    width = models.PositiveIntegerField()
    recordings = models.PositiveBigIntegerField(
        default=0,
        help_text="how often meanings were recorded: whoever knows those up to here lacks the later ones",
    )
    made_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering: ClassVar = ["pk"]
        constraints: ClassVar = [
            UniqueConstraint(fields=["source", "revision", "encoder"], name="one_query_table_per_encoder"),
        ]

    def __str__(self) -> str:
        return f"query table of {self.source}"


class Meaning(models.Model):
    """What an encoder made of an adapter's card. Read again when `asked` is ahead of `answered`."""

    adapter = models.OneToOneField(
        Adapter, on_delete=models.CASCADE, primary_key=True, related_name="meaning"
    )
    table = models.ForeignKey(
        QueryTable, null=True, blank=True, on_delete=models.CASCADE, help_text="of the encoder that read it"
    )
    vector = models.BinaryField(default=b"", help_text="of length one, float16, the lower byte first")
    recording = models.PositiveBigIntegerField(default=0, help_text="in which of the table's recordings")
    asked = models.PositiveIntegerField(default=0, help_text="how often what it says changed")
    answered = models.PositiveIntegerField(default=0, help_text="up to which change it was read")

    class Meta:
        ordering: ClassVar = ["pk"]
        indexes: ClassVar = [Index(fields=["table", "recording"], name="meanings_by_recording")]
        constraints: ClassVar = [
            CheckConstraint(condition=Q(answered__lte=F("asked")), name="a_meaning_answers_what_was_asked"),
            CheckConstraint(
                condition=Q(table=None, vector=b"") | Q(table__isnull=False) & ~Q(vector=b""),
                name="a_read_meaning_has_a_vector",
            ),
        ]

    def __str__(self) -> str:
        return f"meaning of {self.adapter_id}"
