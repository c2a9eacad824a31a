"""Ordered identifiers, the model beside its version, the latest verdict, erasure, an index per list filter."""

import django.db.models.deletion
import django.utils.timezone
import inference.identifiers
from django.conf import settings
from django.db import migrations, models


def fill_model(apps, schema_editor):
    """Each diagnosis's model is its version's."""
    for pk, model in apps.get_model("training", "ModelVersion").objects.values_list("pk", "model_id"):
        apps.get_model("inference", "Diagnosis").objects.filter(model_version_id=pk).update(model_id=model)


class Migration(migrations.Migration):
    # PostgreSQL will not alter a table in the transaction that has just filled it.
    atomic = False

    dependencies = [
        ('accounts', '0001_initial'),
        ('inference', '0002_initial'),
        ('training', '0001_initial'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='diagnosis',
            options={'ordering': ['-id'], 'verbose_name_plural': 'diagnoses'},
        ),
        migrations.RemoveIndex(
            model_name='diagnosis',
            name='diagnosis_newest',
        ),
        migrations.RemoveIndex(
            model_name='diagnosis',
            name='diagnosis_version',
        ),
        migrations.AddField(
            model_name='diagnosis',
            name='erased_at',
            field=models.DateTimeField(blank=True, help_text='the patient was erased: inputs and output are gone', null=True),
        ),
        migrations.AddField(
            model_name='diagnosis',
            name='model',
            field=models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='diagnoses', to='training.model'),
        ),
        migrations.RunPython(fill_model, migrations.RunPython.noop),
        migrations.AlterField(
            model_name='diagnosis',
            name='model',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='diagnoses', to='training.model'),
        ),
        migrations.AddField(
            model_name='diagnosis',
            name='verdict',
            field=models.CharField(blank=True, default='', help_text='of the latest review; empty: not reviewed', max_length=10),
        ),
        migrations.AlterField(
            model_name='batch',
            name='id',
            field=models.UUIDField(default=inference.identifiers.uuid7, editable=False, primary_key=True, serialize=False),
        ),
        migrations.AlterField(
            model_name='diagnosis',
            name='batch',
            field=models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='diagnoses', to='inference.batch'),
        ),
        migrations.AlterField(
            model_name='diagnosis',
            name='created_at',
            field=models.DateTimeField(default=django.utils.timezone.now),
        ),
        migrations.AlterField(
            model_name='diagnosis',
            name='id',
            field=models.UUIDField(default=inference.identifiers.uuid7, editable=False, primary_key=True, serialize=False),
        ),
        migrations.AddIndex(
            model_name='diagnosis',
            index=models.Index(fields=['organisation', '-id'], name='diagnosis_newest'),
        ),
        migrations.AddIndex(
            model_name='diagnosis',
            index=models.Index(fields=['organisation', 'model', '-id'], name='diagnosis_model'),
        ),
        migrations.AddIndex(
            model_name='diagnosis',
            index=models.Index(fields=['organisation', 'verdict', '-id'], name='diagnosis_verdict'),
        ),
        migrations.AddIndex(
            model_name='diagnosis',
            index=models.Index(fields=['organisation', 'value', '-id'], name='diagnosis_value'),
        ),
        migrations.AddIndex(
            model_name='diagnosis',
            index=models.Index(fields=['organisation', 'patient_key', '-id'], name='diagnosis_patient'),
        ),
        migrations.AddIndex(
            model_name='diagnosis',
            index=models.Index(condition=models.Q(('batch__isnull', False)), fields=['batch', 'position'], name='diagnosis_batch'),
        ),
    ]
