"""Which encoder reads the prompts of a version, and how each member was introduced when it was planned.

Until now a release had one introduction for ever: what it has is what every version took.
"""

from django.db import migrations, models
from django.db.models import OuterRef, Subquery


def take_from_releases(apps, schema_editor):
    release = apps.get_model("adapters", "Release").objects.filter(pk=OuterRef("release"))
    apps.get_model("indexes", "IndexMember").objects.update(
        profile_digest=Subquery(release.values("profile_digest")),
        profile_size=Subquery(release.values("profile_size")),
    )


class Migration(migrations.Migration):

    dependencies = [
        ('indexes', '0005_prompt_classifier'),
        ('adapters', '0008_release_profile_encoder'),
    ]

    operations = [
        migrations.AddField(
            model_name='indexversion',
            name='encoder',
            field=models.JSONField(blank=True, help_text='what reads prompts; nothing: the base', null=True),
        ),
        migrations.AddField(
            model_name='indexmember',
            name='profile_digest',
            field=models.CharField(blank=True, help_text='how query routers know it', max_length=64),
        ),
        migrations.AddField(
            model_name='indexmember',
            name='profile_size',
            field=models.PositiveBigIntegerField(default=0),
        ),
        migrations.RunPython(take_from_releases, migrations.RunPython.noop),
    ]
