from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('library', '0004_embed_samples'),
    ]

    operations = [
        migrations.AddField(
            model_name='library',
            name='encoder_source',
            field=models.CharField(blank=True, help_text='a sentence encoder that is to read prompts: a folder on the workers, or a hub id; without one the base reads them', max_length=500),
        ),
        migrations.AddField(
            model_name='library',
            name='encoder_revision',
            field=models.CharField(blank=True, max_length=100),
        ),
        migrations.AddField(
            model_name='library',
            name='encoder_settled',
            field=models.BooleanField(default=True, help_text='whether `encoder` is what was asked for, and every expert is introduced by it'),
        ),
        migrations.AddField(
            model_name='library',
            name='encoder',
            field=models.JSONField(blank=True, help_text='the encoder that reads prompts now, as an index version names it: source, revision, name', null=True),
        ),
    ]
