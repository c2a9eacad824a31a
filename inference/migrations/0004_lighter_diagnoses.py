"""No constraint on the rows that all diagnoses share; the index of patients holds only those that are known. See ADR 10."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0003_fewer_audit_indexes'),
        ('inference', '0003_diagnosis_order_and_filters'),
        ('training', '0002_paired_tests_and_rankings'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name='diagnosis',
            name='diagnosis_patient',
        ),
        migrations.AlterField(
            model_name='diagnosis',
            name='api_key',
            field=models.ForeignKey(blank=True, db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='accounts.apikey'),
        ),
        migrations.AlterField(
            model_name='diagnosis',
            name='model',
            field=models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='diagnoses', to='training.model'),
        ),
        migrations.AlterField(
            model_name='diagnosis',
            name='model_version',
            field=models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='diagnoses', to='training.modelversion'),
        ),
        migrations.AlterField(
            model_name='diagnosis',
            name='organisation',
            field=models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='diagnoses', to='accounts.organisation'),
        ),
        migrations.AlterField(
            model_name='diagnosis',
            name='requested_by',
            field=models.ForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddIndex(
            model_name='diagnosis',
            index=models.Index(condition=models.Q(('patient_key', ''), _negated=True), fields=['organisation', 'patient_key', '-id'], name='diagnosis_patient'),
        ),
    ]
