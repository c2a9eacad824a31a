"""Every address of the portal and the API, found by walking the resolver, and what each one's arguments stand for."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver

# Route name → where its arguments come from in the World, "argument=attribute path, …". An address without arguments
# is listed too, with "". A new address fails the guard until it is listed here.
ROUTES: dict[str, str] = {
    "home": "",
    "accounts:organisation_create": "",
    "accounts:switch": "",
    "accounts:organisation": "",
    "accounts:invitation": "token=token",
    "accounts:invitation_accept": "pk=invitation.pk",
    "accounts:invitation_revoke": "pk=invitation.pk",
    "accounts:members": "",
    "accounts:invite": "",
    "accounts:member_role": "pk=spare.pk",
    "accounts:member_remove": "pk=spare.pk",
    "accounts:welcome": "",
    "accounts:preferences": "",
    "accounts:notifications": "",
    "accounts:notifications_read_all": "",
    "accounts:notification_read": "pk=notification.pk",
    "accounts:keys": "",
    "accounts:key_create": "",
    "accounts:key_revoke": "pk=key.pk",
    "accounts:profile": "",
    "accounts:audit": "",
    "accounts:audit_export": "",
    "jobs:list": "",
    "jobs:nodes": "",
    "jobs:detail": "pk=job.pk",
    "jobs:progress": "pk=job.pk",
    "jobs:cancel": "pk=job.pk",
    "jobs:retry": "pk=job.pk",
    "datasets:list": "",
    "datasets:upload": "",
    "datasets:preview": "pk=waiting_upload.pk",
    "datasets:upload_report": "pk=upload.pk",
    "datasets:refused": "pk=upload.pk",
    "datasets:discard": "pk=waiting_upload.pk",
    "datasets:arrivals": "",
    "datasets:arrival_send": "",
    "datasets:quarantine": "",
    "datasets:arrived_file": "pk=arrived_file.pk",
    "datasets:arrived_file_frame": "pk=held_picture.pk, index=index",
    "datasets:arrived_file_retry": "pk=arrived_file.pk",
    "datasets:arrived_file_discard": "pk=arrived_file.pk",
    "datasets:arrival": "pk=arrival.pk",
    "datasets:arrival_report": "pk=arrival.pk",
    "datasets:arrival_discard": "pk=arrival.pk",
    "datasets:arrival_retry": "pk=arrival.pk",
    "datasets:received_erase": "",
    "datasets:importers": "",
    "datasets:importer_kinds": "",
    "datasets:importer_add": "kind=importer.kind",
    "datasets:importer": "pk=importer.pk",
    "datasets:importer_settings": "pk=importer.pk",
    "datasets:importer_test": "pk=importer.pk",
    "datasets:importer_look": "pk=importer.pk",
    "datasets:importer_schedule": "pk=importer.pk",
    "datasets:importer_start": "pk=importer.pk",
    "datasets:importer_pause": "pk=importer.pk",
    "datasets:importer_remove": "pk=importer.pk",
    "datasets:importer_run": "pk=importer.pk, run=importer_run.pk",
    "datasets:receivers": "",
    "datasets:receiver_add": "",
    "datasets:receiver": "pk=receiver.pk",
    "datasets:receiver_remove": "pk=receiver.pk",
    "datasets:peer_add": "pk=receiver.pk",
    "datasets:peer_remove": "pk=receiver.pk, peer=peer.pk",
    "datasets:transfer_discard": "pk=transfer.pk",
    "datasets:patient_key": "",
    "datasets:detail": "pk=dataset.pk",
    "datasets:change": "pk=dataset.pk",
    "datasets:columns": "pk=dataset.pk",
    "datasets:archive": "pk=dataset.pk",
    "datasets:export": "pk=dataset.pk",
    "datasets:quality": "pk=dataset.pk",
    "datasets:records": "pk=dataset.pk",
    "datasets:gallery": "pk=dataset.pk",
    "datasets:record": "pk=dataset.pk, record=record.pk",
    "datasets:record_picture": "pk=dataset.pk, record=record.pk, file=record_file.pk, size=size",
    "datasets:record_look": "pk=dataset.pk, record=record.pk, file=record_file.pk",
    "datasets:record_frame": "pk=dataset.pk, record=record.pk, file=record_file.pk, plane=plane, index=index",
    "datasets:label": "pk=dataset.pk, record=record.pk",
    "datasets:erase": "pk=dataset.pk",
    "datasets:versions": "pk=dataset.pk",
    "datasets:freeze": "pk=dataset.pk",
    "datasets:version_download": "pk=dataset.pk, version=version.pk",
    "training:models": "",
    "training:model": "pk=model.pk",
    "training:version": "pk=model_version.pk",
    "training:confirm": "pk=model_version.pk",
    "training:roll_back": "pk=model.pk",
    "training:publish": "pk=model.pk",
    "training:nightly": "pk=model.pk",
    "training:runs": "",
    "training:start": "pk=dataset.pk",
    "training:run": "pk=run.pk",
    "training:run_live": "pk=run.pk",
    "training:repeat": "pk=run.pk",
    "training:cancel": "pk=run.pk",
    "training:retry": "pk=run.pk",
    "training:gate": "",
    "training:gate_save": "",
    "training:recommendation": "",
    "inference:start": "",
    "inference:form": "pk=model.pk",
    "inference:diagnoses": "",
    "inference:batch": "pk=batch",
    "inference:diagnosis": "pk=diagnosis.pk",
    "inference:review": "pk=diagnosis.pk",
    "inference:picture": "pk=diagnosis.pk, file=diagnosis_file.pk, size=size",
    "inference:look": "pk=diagnosis.pk, file=diagnosis_file.pk",
    "inference:frame": "pk=diagnosis.pk, file=diagnosis_file.pk, plane=plane, index=index",
    "api:me": "",
    "api:organisations": "",
    "api:members": "organisation_id=organisation.pk",
    "api:notifications": "",
    "api:notification_read": "pk=notification.pk",
    "api:keys": "",
    "api:key_revoke": "pk=key.pk",
    "api:preferences": "",
    "api:audit_events": "",
    "api:jobs": "",
    "api:job": "pk=job.pk",
    "api:job_cancel": "pk=job.pk",
    "api:job_retry": "pk=job.pk",
    "api:job_log": "pk=job.pk",
    "api:datasets": "",
    "api:dataset": "pk=dataset.pk",
    "api:dataset_columns": "pk=dataset.pk",
    "api:dataset_versions": "pk=dataset.pk",
    "api:dataset_quality": "pk=dataset.pk",
    "api:records": "pk=dataset.pk",
    "api:record": "dataset_pk=dataset.pk, pk=record.pk",
    "api:patient": "pseudonym=patient_key.pseudonym",
    "api:files": "",
    "api:file": "sha256=stored.sha256",
    "api:uploads": "",
    "api:upload": "pk=upload.pk",
    "api:upload_confirm": "pk=waiting_upload.pk",
    "api:upload_discard": "pk=waiting_upload.pk",
    "api:arrivals": "",
    "api:arrival": "pk=arrival.pk",
    "api:arrived_files": "pk=arrival.pk",
    "api:arrival_retry": "pk=arrival.pk",
    "api:arrived_file": "pk=arrived_file.pk",
    "api:arrived_file_retry": "pk=arrived_file.pk",
    "api:arrived_file_discard": "pk=arrived_file.pk",
    "api:importers": "",
    "api:importer_kinds": "",
    "api:importer": "pk=importer.pk",
    "api:importer_test": "pk=importer.pk",
    "api:importer_preview": "pk=importer.pk",
    "api:importer_mapping": "pk=importer.pk",
    "api:importer_schedule": "pk=importer.pk",
    "api:importer_start": "pk=importer.pk",
    "api:importer_pause": "pk=importer.pk",
    "api:importer_runs": "pk=importer.pk",
    "api:importer_run": "pk=importer.pk, run=importer_run.pk",
    "api:receivers": "",
    "api:receiver": "pk=receiver.pk",
    "api:peers": "pk=receiver.pk",
    "api:peer": "pk=receiver.pk, peer=peer.pk",
    "api:dicom_studies": "",
    "api:dicom_all_series": "",
    "api:dicom_all_instances": "",
    "api:dicom_study": "study=instance.study",
    "api:dicom_study_metadata": "study=instance.study",
    "api:dicom_study_series": "study=instance.study",
    "api:dicom_study_instances": "study=instance.study",
    "api:dicom_series": "study=instance.study, series=instance.series",
    "api:dicom_series_metadata": "study=instance.study, series=instance.series",
    "api:dicom_series_instances": "study=instance.study, series=instance.series",
    "api:dicom_instance": "study=instance.study, series=instance.series, instance=instance.instance",
    "api:dicom_instance_metadata": "study=instance.study, series=instance.series, instance=instance.instance",
    "api:dicom_rendered": "study=instance.study, series=instance.series, instance=instance.instance",
    "api:dicom_frames": "study=instance.study, series=instance.series, instance=instance.instance, frames=frames",
    "api:dicom_frames_rendered": "study=instance.study, series=instance.series, instance=instance.instance, frames=frames",
    "api:transfers": "",
    "api:transfer": "pk=transfer.pk",
    "api:training-runs": "",
    "api:training-run": "pk=run.pk",
    "api:training-run-cancel": "pk=run.pk",
    "api:training-run-repeat": "pk=run.pk",
    "api:recipe-options": "",
    "api:gate": "",
    "api:models": "",
    "api:model": "pk=model.pk",
    "api:model-roll-back": "pk=model.pk",
    "api:model-publish": "pk=model.pk",
    "api:model-versions": "",
    "api:model-version": "pk=model_version.pk",
    "api:model-version-confirm": "pk=model_version.pk",
    "api:model-version-evaluate": "pk=model_version.pk",
    "api:leaderboard": "",
    "api:recommendation": "",
    "api:diagnoses": "",
    "api:diagnosis": "pk=diagnosis.pk",
    "api:diagnosis-review": "pk=diagnosis.pk",
    "api:batch": "pk=batch",
}

# Addresses that anyone may open, and why. allauth's own pages are allauth's to gate and to test.
PUBLIC: dict[str, str] = {
    "health": "load balancers have no account; it says only that the database answers",
    "set_language": "the sign-in page is read in both languages too",
    "api_docs": "documents addresses, shows no data",
    "api:schema": "documents addresses, shows no data",
}
# Addresses of signed-in people who need no organisation yet, and why they answer an outsider differently.
OWN_RULES: dict[str, str] = {
    "datasets:importer_add": "a kind of source, which all organisations have alike",
    "accounts:organisation_create": "makes the outsider's own organisation",
    "accounts:switch": "changes only which of one's own organisations is shown",
    "accounts:invitation": "whoever holds the e-mailed token may read whom it is for",
    "accounts:invitation_accept": "checked against the invited e-mail address",
}
ALLAUTH = "allauth."


@dataclass(frozen=True)
class Route:
    """One address: its name, its view, and the names of its arguments."""

    name: str
    view: Any
    arguments: tuple[str, ...]

    @property
    def is_api(self) -> bool:
        return self.name.startswith("api:")

    @property
    def is_allauth(self) -> bool:
        module = getattr(getattr(self.view, "view_class", self.view), "__module__", "")
        return module.startswith(ALLAUTH)


def walk(patterns: Any, spaces: tuple[str, ...] = (), arguments: tuple[str, ...] = ()) -> Iterator[Route]:
    """All routes below these patterns, with their namespaces."""
    for pattern in patterns:
        own = arguments + tuple(getattr(pattern.pattern, "converters", {}))
        if isinstance(pattern, URLResolver):
            space = (*spaces, pattern.namespace) if pattern.namespace else spaces
            yield from walk(pattern.url_patterns, space, own)
        elif isinstance(pattern, URLPattern):
            name = ":".join((*spaces, pattern.name or f"unnamed {pattern.pattern}"))
            yield Route(name, pattern.callback, own)


def all_routes() -> list[Route]:
    return [route for route in walk(get_resolver().url_patterns) if not route.name.startswith("admin:")]


def guarded() -> list[Route]:
    """The routes that a person must be entitled to."""
    return [route for route in all_routes() if route.name not in PUBLIC and not route.is_allauth]


def value(world: Any, path: str) -> Any:
    """`value(world, "dataset.pk")`."""
    for part in path.split("."):
        world = getattr(world, part)
    return world


def arguments_of(route: Route, world: Any) -> dict[str, Any]:
    """The route's arguments from the World, by the table above."""
    spec = ROUTES[route.name]
    pairs = (pair.split("=") for pair in spec.split(", ") if pair)
    return {name: value(world, path) for name, path in pairs}
