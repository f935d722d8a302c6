"""The database itself refuses to change what was decided, and what was decided before this table was there is
put on record.

SQLite drops triggers when it rebuilds a table, so a later migration that alters this table must create it again
(a test notices when it does not). Removing a row is not refused here: tests empty tables.
"""

from django.db import migrations

SENTENCE = "a decision is never changed"
FIXED = 'library_id, what, release_id, "before", "after", reason, at'

SQLITE = f"""
    CREATE TRIGGER decisions_never_change BEFORE UPDATE OF {FIXED} ON decisions_decision
    BEGIN SELECT RAISE(ABORT, '{SENTENCE}'); END
"""
POSTGRESQL = f"""
    CREATE FUNCTION decisions_never_change() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION '{SENTENCE}' USING ERRCODE = 'integrity_constraint_violation'; END $$;
    CREATE TRIGGER decisions_never_change BEFORE UPDATE OF {FIXED} ON decisions_decision
    FOR EACH ROW EXECUTE FUNCTION decisions_never_change();
"""
DROP = {
    "sqlite": "DROP TRIGGER decisions_never_change",
    "postgresql": "DROP FUNCTION decisions_never_change() CASCADE",
}
STANDINGS = {"yanked": "withdrawn", "quarantined": "quarantined", "restored": "ready"}


def create(apps, schema_editor):
    schema_editor.execute({"sqlite": SQLITE, "postgresql": POSTGRESQL}[schema_editor.connection.vendor])


def drop(apps, schema_editor):
    schema_editor.execute(DROP[schema_editor.connection.vendor])


def put_on_record(apps, schema_editor):
    """Promotions and what became of releases, in the order in which it happened."""
    decision = apps.get_model("decisions", "Decision")
    found = [*promotions(apps), *standings(apps)]
    decision.objects.bulk_create(
        (decision(**fields) for fields in sorted(found, key=lambda fields: fields["at"])), batch_size=500
    )


def promotions(apps):
    served = {}
    rows = apps.get_model("indexes", "Promotion").objects.order_by("pk")
    for library, number, by, reason, at in rows.values_list(
        "library_id", "version__number", "by_id", "reason", "at"
    ).iterator():
        before = served.get(library)
        served[library] = number
        yield {
            "library_id": library,
            "what": "rolled back" if before is not None and number < before else "promoted",
            "before": f"version {before}" if before is not None else "",
            "after": f"version {number}",
            "by_id": by,
            "reason": reason,
            "at": at,
        }


def standings(apps):
    stood = {}
    events = apps.get_model("adapters", "ReleaseEvent").objects.filter(what__in=STANDINGS).order_by("pk")
    rows = events.exclude(release__adapter__library=None).values_list(
        "release_id", "release__adapter__library_id", "what", "by_id", "reason", "at"
    )
    for release, library, what, by, reason, at in rows.iterator():
        before, stood[release] = stood.get(release, "ready"), STANDINGS[what]
        yield {
            "library_id": library,
            "release_id": release,
            "what": what,
            "before": before,
            "after": STANDINGS[what],
            "by_id": by,
            "reason": reason,
            "at": at,
        }


class Migration(migrations.Migration):
    dependencies = [
        ("decisions", "0001_initial"),
        ("indexes", "0006_encoder_and_members_profiles"),
        ("adapters", "0010_downloads"),
    ]
    operations = [
        migrations.RunPython(put_on_record, migrations.RunPython.noop),
        migrations.RunPython(create, drop),
    ]
