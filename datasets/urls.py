"""The portal's pages of this app."""

from django.urls import URLPattern, URLResolver, path

from datasets.arrivals import urls as arrivals
from datasets.cells import views as cells
from datasets.dicom import views as dicom
from datasets.importing import urls as importing
from datasets.receiving import urls as receiving
from datasets.receiving.views_erasing import received_erase
from datasets.viewer import views as viewer
from datasets.views import datasets, gallery, quality, records, transfers, uploads, versions

app_name = "datasets"
urlpatterns: list[URLPattern | URLResolver] = [
    path("", datasets.dataset_list, name="list"),
    path("upload/", uploads.upload_file, name="upload"),
    path("uploads/<uuid:pk>/", uploads.preview, name="preview"),
    path("uploads/<uuid:pk>/report/", uploads.upload_report, name="upload_report"),
    path("uploads/<uuid:pk>/refused/", uploads.refused, name="refused"),
    path("uploads/<uuid:pk>/discard/", uploads.discard, name="discard"),
    *arrivals.urlpatterns,
    *importing.urlpatterns,
    *receiving.urlpatterns,
    path("transfers/<uuid:pk>/discard/", transfers.discard, name="transfer_discard"),
    path("patients/", dicom.patient_key, name="patient_key"),
    path("patients/erase/", received_erase, name="received_erase"),
    path("<uuid:pk>/", datasets.detail, name="detail"),
    path("<uuid:pk>/change/", datasets.change, name="change"),
    path("<uuid:pk>/columns/", datasets.columns, name="columns"),
    path("<uuid:pk>/archive/", datasets.archive, name="archive"),
    path("<uuid:pk>/export/", datasets.export_dataset, name="export"),
    path("<uuid:pk>/quality/", quality.quality_page, name="quality"),
    path("<uuid:pk>/records/", records.record_list, name="records"),
    path("<uuid:pk>/pictures/", gallery.gallery, name="gallery"),
    path("<uuid:pk>/records/<int:record>/", records.record_detail, name="record"),
    path("<uuid:pk>/records/<int:record>/files/<int:file>/<slug:size>/", cells.record_picture, name="record_picture"),
    path("<uuid:pk>/records/<int:record>/files/<int:file>/look/all/", viewer.record_look, name="record_look"),
    path(
        "<uuid:pk>/records/<int:record>/files/<int:file>/look/<slug:plane>/<int:index>/", viewer.record_frame, name="record_frame"
    ),
    path("<uuid:pk>/records/<int:record>/label/", records.label, name="label"),
    path("<uuid:pk>/erase/", records.erase, name="erase"),
    path("<uuid:pk>/versions/", versions.version_list, name="versions"),
    path("<uuid:pk>/versions/freeze/", versions.freeze_dataset, name="freeze"),
    path("<uuid:pk>/versions/<uuid:version>/download/", versions.download, name="version_download"),
]
