"""The addresses of receiving: pages under /datasets/receivers/, resources under /api/v1/."""

from django.urls import URLPattern, path

from datasets.receiving import api, views

urlpatterns: list[URLPattern] = [
    path("receivers/", views.receivers, name="receivers"),
    path("receivers/add/", views.receiver_add, name="receiver_add"),
    path("receivers/<int:pk>/", views.receiver, name="receiver"),
    path("receivers/<int:pk>/remove/", views.receiver_remove, name="receiver_remove"),
    path("receivers/<int:pk>/peers/", views.peer_add, name="peer_add"),
    path("receivers/<int:pk>/peers/<int:peer>/remove/", views.peer_remove, name="peer_remove"),
]
api_urlpatterns: list[URLPattern] = [
    path("receivers/", api.ReceiverList.as_view(), name="receivers"),
    path("receivers/<int:pk>/", api.ReceiverDetail.as_view(), name="receiver"),
    path("receivers/<int:pk>/peers/", api.PeerList.as_view(), name="peers"),
    path("receivers/<int:pk>/peers/<int:peer>/", api.PeerDetail.as_view(), name="peer"),
]
