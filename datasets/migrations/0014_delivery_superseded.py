from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('datasets', '0013_importers'),
    ]

    operations = [
        migrations.AddField(
            model_name='delivery',
            name='superseded',
            field=models.BooleanField(default=False, help_text='what failed of it is read again from the source'),
        ),
    ]
