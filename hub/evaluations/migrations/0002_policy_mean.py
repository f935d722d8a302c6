from django.db import migrations, models


def fill(apps, schema_editor):
    """The figure that is drawn over versions, out of each table that is there."""
    evaluations = apps.get_model("evaluations", "Evaluation").objects
    for pk, rows in evaluations.values_list("pk", "rows").iterator():
        mean = next((row["mean"] for row in rows if row["kind"] == "policy"), None)
        if mean is not None:
            evaluations.filter(pk=pk).update(policy_mean=mean)


class Migration(migrations.Migration):
    dependencies = [("evaluations", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="evaluation",
            name="policy_mean",
            field=models.FloatField(
                null=True,
                blank=True,
                help_text="of the library's policy, out of `rows`: what is drawn over versions",
            ),
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
