"""Fewer and cheaper indexes on Record, so that a million rows import quickly: see docs/adr/0012."""

import django.db.models.deletion
from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import Max, Min

import datasets.models


def note_ranges(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Where each upload's records are, for uploads from before this was noted."""
    records = apps.get_model("datasets", "Record").objects.exclude(upload=None).order_by()
    uploads = apps.get_model("datasets", "Upload").objects
    for row in records.values("upload").annotate(low=Min("id"), high=Max("id")).iterator():
        uploads.filter(pk=row["upload"]).update(record_from=row["low"], record_to=row["high"])


class Migration(migrations.Migration):
    dependencies = [("datasets", "0002_version_state")]

    operations = [
        migrations.AddField("upload", "record_from", models.BigIntegerField(blank=True, null=True)),
        migrations.AddField("upload", "record_to", models.BigIntegerField(blank=True, null=True)),
        migrations.RunPython(note_ranges, migrations.RunPython.noop),
        *(
            migrations.RemoveIndex(model_name="record", name=name)
            for name in ("record_newest", "record_patient", "record_target", "record_split", "record_upload")
        ),
        migrations.AlterField(
            "record",
            "upload",
            models.ForeignKey(
                blank=True, db_constraint=False, db_index=False, null=True,
                on_delete=django.db.models.deletion.SET_NULL, related_name="records", to="datasets.upload",
            ),
        ),
        migrations.AlterField(
            "record",
            "values",
            datasets.models.RowField(default=dict, help_text="column name → number, text, ISO date or null"),
        ),
        migrations.AddIndex("record", models.Index(fields=["dataset", "id"], name="record_in_order")),
        migrations.AddIndex("record", models.Index(fields=["dataset", "patient_key", "id"], name="record_by_patient")),
        migrations.AddIndex("record", models.Index(fields=["dataset", "target", "id"], name="record_by_target")),
    ]  # fmt: skip
