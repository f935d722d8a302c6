from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('adapters', '0007_main'),
    ]

    operations = [
        migrations.AddField(
            model_name='release',
            name='profile_encoder',
            field=models.CharField(blank=True, help_text='what made the embeddings of its profile', max_length=100),
        ),
    ]
