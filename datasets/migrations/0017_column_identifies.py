"""Which columns tell who the patient is; of those that are there already, by their names."""

from typing import Any

from django.db import migrations, models

from datasets.masking.known import identifies


def by_name(apps: Any, _schema_editor: Any) -> None:
    column = apps.get_model("datasets", "Column")
    words = column.objects.exclude(role="target").filter(kind__in=["number", "category", "text", "date"])
    named = [pk for pk, name in words.values_list("pk", "name").iterator() if identifies(name)]
    for start in range(0, len(named), 500):
        column.objects.filter(pk__in=named[start : start + 500]).update(identifies=True)


class Migration(migrations.Migration):
    dependencies = [("datasets", "0016_series_join")]

    operations = [
        migrations.AddField(
            model_name="column",
            name="identifies",
            field=models.BooleanField(
                default=False,
                help_text="its values are masked in the texts of the same record",
                verbose_name="tells who the patient is",
            ),
        ),
        migrations.RunPython(by_name, migrations.RunPython.noop),
    ]
