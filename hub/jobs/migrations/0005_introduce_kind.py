from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0004_import_kind'),
    ]

    operations = [
        migrations.AlterField(
            model_name='job',
            name='kind',
            field=models.CharField(choices=[('workers.inspect_base', 'Inspect Base'), ('workers.validate', 'Validate'), ('workers.vectors', 'Vectors'), ('workers.gates', 'Gates'), ('workers.index', 'Index'), ('workers.promote', 'Promote'), ('workers.compose', 'Compose'), ('workers.cluster', 'Cluster'), ('workers.train_cluster', 'Train Cluster'), ('workers.import', 'Import'), ('workers.introduce', 'Introduce')], max_length=40),
        ),
    ]
