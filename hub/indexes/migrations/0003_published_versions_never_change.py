"""A rule that outlives our code: the database itself refuses to change a published index version.

SQLite drops triggers when it rebuilds a table, so a later migration that alters this table must create it again
(a test notices when it does not).
"""

from django.db import migrations

SENTENCE = "a published index version never changes"

SQLITE = f"""
    CREATE TRIGGER published_versions_never_change BEFORE UPDATE ON indexes_indexversion
    WHEN OLD.status = 'published' BEGIN SELECT RAISE(ABORT, '{SENTENCE}'); END
"""
POSTGRESQL = f"""
    CREATE FUNCTION published_versions_never_change() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION '{SENTENCE}' USING ERRCODE = 'integrity_constraint_violation'; END $$;
    CREATE TRIGGER published_versions_never_change BEFORE UPDATE ON indexes_indexversion
    FOR EACH ROW WHEN (OLD.status = 'published') EXECUTE FUNCTION published_versions_never_change();
"""
DROP = {
    "sqlite": "DROP TRIGGER published_versions_never_change",
    "postgresql": "DROP FUNCTION published_versions_never_change() CASCADE",
}


def create(apps, schema_editor):
    schema_editor.execute({"sqlite": SQLITE, "postgresql": POSTGRESQL}[schema_editor.connection.vendor])


def drop(apps, schema_editor):
    schema_editor.execute(DROP[schema_editor.connection.vendor])


class Migration(migrations.Migration):
    dependencies = [("indexes", "0002_initial")]
    operations = [migrations.RunPython(create, drop)]
