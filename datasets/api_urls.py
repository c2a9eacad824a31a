"""The REST resources of this app, under /api/v1/."""

from django.urls import URLPattern, URLResolver, path

from datasets import api, api_records, api_uploads
from datasets.arrivals import urls as arrivals
from datasets.cells import api as api_files
from datasets.dicom.api import PatientDetail
from datasets.importing import urls as importing
from datasets.receiving import urls as receiving
from datasets.tus import api as tus

urlpatterns: list[URLPattern | URLResolver] = [
    path("datasets/", api.DatasetList.as_view(), name="datasets"),
    path("datasets/<uuid:pk>/", api.DatasetDetail.as_view(), name="dataset"),
    path("datasets/<uuid:pk>/columns/", api.ColumnList.as_view(), name="dataset_columns"),
    path("datasets/<uuid:pk>/versions/", api.VersionList.as_view(), name="dataset_versions"),
    path("datasets/<uuid:pk>/quality/", api.Quality.as_view(), name="dataset_quality"),
    path("datasets/<uuid:pk>/records/", api_records.RecordList.as_view(), name="records"),
    path("datasets/<uuid:dataset_pk>/records/<int:pk>/", api_records.RecordDetail.as_view(), name="record"),
    path("patients/<str:pseudonym>/", PatientDetail.as_view(), name="patient"),
    path("files/", api_files.FileList.as_view(), name="files"),
    path("files/<slug:sha256>/", api_files.FileDetail.as_view(), name="file"),
    path("uploads/", api_uploads.UploadList.as_view(), name="uploads"),
    path("uploads/<uuid:pk>/", api_uploads.UploadDetail.as_view(), name="upload"),
    path("uploads/<uuid:pk>/confirm/", api_uploads.UploadConfirm.as_view(), name="upload_confirm"),
    path("uploads/<uuid:pk>/discard/", api_uploads.UploadDiscard.as_view(), name="upload_discard"),
    *arrivals.api_urlpatterns,
    *importing.api_urlpatterns,
    *receiving.api_urlpatterns,
    path("transfers/", tus.TransferList.as_view(), name="transfers"),
    path("transfers/<uuid:pk>/", tus.TransferDetail.as_view(), name="transfer"),
]
