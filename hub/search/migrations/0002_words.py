"""The databases' own index over an entry's words. What a word is was decided before (hub/search/words.py): both only
take the text apart at its spaces, so both find the same.

SQLite drops triggers when it rebuilds a table, so a later migration that alters this table must create them again
(a test notices when it does not).
"""

from django.db import migrations

SQLITE = (
    # ascii: every character beyond ASCII is part of a word, and none of ours is a separator but the space
    """CREATE VIRTUAL TABLE search_words USING fts5(words, content='search_entry', content_rowid='adapter_id',
       tokenize='ascii', prefix='1 2 3', detail='none')""",
    """CREATE TRIGGER search_words_inserted AFTER INSERT ON search_entry BEGIN
       INSERT INTO search_words(rowid, words) VALUES (new.adapter_id, new.words); END""",
    """CREATE TRIGGER search_words_deleted AFTER DELETE ON search_entry BEGIN
       INSERT INTO search_words(search_words, rowid, words) VALUES ('delete', old.adapter_id, old.words); END""",
    """CREATE TRIGGER search_words_updated AFTER UPDATE OF words ON search_entry BEGIN
       INSERT INTO search_words(search_words, rowid, words) VALUES ('delete', old.adapter_id, old.words);
       INSERT INTO search_words(rowid, words) VALUES (new.adapter_id, new.words); END""",
)
POSTGRESQL = (
    """ALTER TABLE search_entry ADD COLUMN word_vector tsvector
       GENERATED ALWAYS AS (array_to_tsvector(string_to_array(words, ' '))) STORED""",
    "CREATE INDEX search_entry_word_vector ON search_entry USING gin (word_vector)",
)
DROP_SQLITE = (
    "DROP TRIGGER search_words_inserted",
    "DROP TRIGGER search_words_deleted",
    "DROP TRIGGER search_words_updated",
    "DROP TABLE search_words",
)
DROP_POSTGRESQL = ("ALTER TABLE search_entry DROP COLUMN word_vector",)


def create(apps, schema_editor):
    for statement in {"sqlite": SQLITE, "postgresql": POSTGRESQL}[schema_editor.connection.vendor]:
        schema_editor.execute(statement)


def drop(apps, schema_editor):
    for statement in {"sqlite": DROP_SQLITE, "postgresql": DROP_POSTGRESQL}[schema_editor.connection.vendor]:
        schema_editor.execute(statement)


class Migration(migrations.Migration):
    dependencies = [("search", "0001_initial")]
    operations = [migrations.RunPython(create, drop)]
