"""The portal's pages of this app."""

from django.urls import URLPattern, URLResolver, path

from inference.views import asking, files, reading

app_name = "inference"
urlpatterns: list[URLPattern | URLResolver] = [
    path("diagnose/", asking.start, name="start"),
    path("diagnose/<uuid:pk>/", asking.form, name="form"),
    path("diagnoses/", reading.diagnoses, name="diagnoses"),
    path("diagnoses/batches/<uuid:pk>/", reading.batch, name="batch"),
    path("diagnoses/<uuid:pk>/", reading.diagnosis, name="diagnosis"),
    path("diagnoses/<uuid:pk>/files/<int:file>/<slug:size>/", files.picture, name="picture"),
    path("diagnoses/<uuid:pk>/files/<int:file>/look/all/", files.look, name="look"),
    path("diagnoses/<uuid:pk>/files/<int:file>/look/<slug:plane>/<int:index>/", files.frame, name="frame"),
    path("diagnoses/<uuid:pk>/review/", reading.review, name="review"),
]
