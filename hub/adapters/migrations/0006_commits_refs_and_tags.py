from django.conf import settings
from django.db import migrations, models
import django.db.models.deletion
import django.db.models.functions.datetime


class Migration(migrations.Migration):
    dependencies = [
        ("adapters", "0005_query_routers"),
        ("library", "0004_embed_samples"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterField(
            model_name="adapter",
            name="library",
            field=models.ForeignKey(
                blank=True,
                help_text="decided by the first commit that holds an adapter, and for good",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="adapters",
                to="library.library",
            ),
        ),
        migrations.AddField(
            model_name="adapter",
            name="deleted_at",
            field=models.DateTimeField(
                blank=True,
                help_text="withdrawn whole; its name stays taken, since versions name it",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="commit",
            name="card",
            field=models.JSONField(blank=True, default=dict, help_text="front matter of the README in this tree"),
        ),
        migrations.AddField(
            model_name="commit",
            name="config",
            field=models.JSONField(blank=True, default=dict, help_text="what its adapter_config.json says of it"),
        ),
        migrations.AddField(
            model_name="commit",
            name="examined_as",
            field=models.ForeignKey(
                blank=True,
                help_text="the release that was made of the adapter in this tree, here or in an earlier commit",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="commits",
                to="adapters.release",
            ),
        ),
        migrations.CreateModel(
            name="AdapterTag",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("tag", models.CharField(db_index=True, max_length=200)),
                (
                    "adapter",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="tags", to="adapters.adapter"
                    ),
                ),
            ],
            options={
                "ordering": ["pk"],
                "constraints": [
                    models.UniqueConstraint(fields=("adapter", "tag"), name="an_adapter_has_a_tag_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="Like",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "adapter",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="likes", to="adapters.adapter"
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="likes",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ["pk"],
                "constraints": [
                    models.UniqueConstraint(fields=("adapter", "user"), name="one_like_per_person")
                ],
            },
        ),
        migrations.CreateModel(
            name="Ref",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(choices=[("branch", "Branch"), ("tag", "Tag")], max_length=6)),
                ("name", models.CharField(max_length=100)),
                ("message", models.TextField(blank=True, help_text="what was said of a tag")),
                (
                    "adapter",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="refs", to="adapters.adapter"
                    ),
                ),
                (
                    "commit",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="refs", to="adapters.commit"
                    ),
                ),
            ],
            options={
                "ordering": ["name"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("adapter", "kind", "name"), name="an_adapters_refs_are_called_differently"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("kind__in", ["branch", "tag"])), name="ref_kind_is_known"
                    ),
                ],
            },
        ),
    ]
