from django.db import migrations, models


def main_points_at_the_newest(apps, schema_editor):
    """Adapters from before there were branches: main is their newest commit, and each commit its own release."""
    Commit, Ref, Release = (apps.get_model("adapters", name) for name in ("Commit", "Ref", "Release"))
    for release in Release.objects.only("pk", "commit_id").iterator():
        Commit.objects.filter(pk=release.commit_id).update(examined_as=release.pk)
    newest = Commit.objects.values("adapter").annotate(newest=models.Max("pk"))
    Ref.objects.bulk_create(
        Ref(adapter_id=row["adapter"], kind="branch", name="main", commit_id=row["newest"]) for row in newest
    )


class Migration(migrations.Migration):
    dependencies = [("adapters", "0006_commits_refs_and_tags")]

    operations = [migrations.RunPython(main_points_at_the_newest, migrations.RunPython.noop)]
