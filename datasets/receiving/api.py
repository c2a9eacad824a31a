"""REST: the AE titles that the organisation receives DICOM under, and the peers that may send to each."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.exceptions import ValidationError
from drf_spectacular.utils import extend_schema
from rest_framework import generics, serializers
from rest_framework.parsers import JSONParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.actor import actor_of
from accounts.permissions import Permission
from accounts.rest.idempotency import idempotent
from accounts.scoping import get_or_404
from datasets.models import Dataset
from datasets.receiving import services
from datasets.receiving.models import Peer, Receiver

PERMISSIONS = {"read": Permission.MANAGE_ORGANISATION, "write": Permission.MANAGE_ORGANISATION}


class PeerSerializer(serializers.ModelSerializer[Peer]):
    """Who may send: the AE title that it calls itself, and from where."""

    class Meta:
        model = Peer
        fields = ("id", "title", "address", "created_at")
        read_only_fields = fields


class ReceiverSerializer(serializers.ModelSerializer[Receiver]):
    """An AE title that DICOM is received under, with its peers."""

    dataset = serializers.UUIDField(source="dataset_id", read_only=True, allow_null=True)
    peers = PeerSerializer(many=True, read_only=True)

    class Meta:
        model = Receiver
        fields = ("id", "title", "dataset", "active", "peers", "created_at")
        read_only_fields = fields


class NewReceiverSerializer(serializers.Serializer[Any]):
    title = serializers.CharField(max_length=16)
    dataset = serializers.UUIDField(required=False, allow_null=True)


class ReceiverChangeSerializer(serializers.Serializer[Any]):
    dataset = serializers.UUIDField(required=False, allow_null=True)
    active = serializers.BooleanField(required=False)


class NewPeerSerializer(serializers.Serializer[Any]):
    title = serializers.CharField(max_length=16)
    address = serializers.CharField(max_length=50, help_text="an IP address, or a network such as 10.1.0.0/16")


@contextmanager
def told() -> Iterator[None]:
    """What the services refuse, by field."""
    try:
        yield
    except ValidationError as error:
        raise serializers.ValidationError(error.message_dict) from error


def _receiver(request: Request, pk: int) -> Receiver:
    rows = Receiver.objects.prefetch_related("peers").select_related("dataset")
    found: Receiver = get_or_404(rows, actor_of(request), pk=pk)
    return found


def _dataset(request: Request, pk: Any) -> Dataset | None:
    return get_or_404(Dataset.objects, actor_of(request), pk=pk) if pk else None


class ReceiverList(generics.ListAPIView[Receiver]):
    """The AE titles that DICOM is received under; POST adds one."""

    permissions = PERMISSIONS
    serializer_class = ReceiverSerializer
    parser_classes = (JSONParser,)
    queryset = Receiver.objects.none()

    def get_queryset(self) -> Any:
        return Receiver.objects.for_organisation(actor_of(self.request).organisation).prefetch_related("peers")

    @extend_schema(request=NewReceiverSerializer, responses={201: ReceiverSerializer})
    @idempotent
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        given = NewReceiverSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        dataset = _dataset(request, given.validated_data.get("dataset"))
        with told():
            row = services.add_receiver(actor=actor_of(request), title=given.validated_data["title"], dataset=dataset)
        return Response(ReceiverSerializer(row).data, status=201)


class ReceiverDetail(APIView):
    """One of them: PATCH changes it, DELETE ends it."""

    permissions = PERMISSIONS
    parser_classes = (JSONParser,)

    @extend_schema(responses=ReceiverSerializer)
    def get(self, request: Request, pk: int) -> Response:
        return Response(ReceiverSerializer(_receiver(request, pk)).data)

    @extend_schema(request=ReceiverChangeSerializer, responses=ReceiverSerializer)
    def patch(self, request: Request, pk: int) -> Response:
        row = _receiver(request, pk)
        given = ReceiverChangeSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        data = given.validated_data
        dataset = _dataset(request, data["dataset"]) if "dataset" in data else row.dataset
        services.change_receiver(
            actor=actor_of(request), receiver=row, dataset=dataset, active=data.get("active", row.active)
        )
        return Response(ReceiverSerializer(_receiver(request, pk)).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        services.remove_receiver(actor=actor_of(request), receiver=_receiver(request, pk))
        return Response(status=204)


class PeerList(APIView):
    """Allow a peer to send to a receiver."""

    permissions = {"write": Permission.MANAGE_ORGANISATION}
    parser_classes = (JSONParser,)

    @extend_schema(operation_id="receivers_peers_create", request=NewPeerSerializer, responses={201: PeerSerializer})
    @idempotent
    def post(self, request: Request, pk: int) -> Response:
        row = _receiver(request, pk)
        given = NewPeerSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        with told():
            peer = services.add_peer(actor=actor_of(request), receiver=row, **given.validated_data)
        return Response(PeerSerializer(peer).data, status=201)


class PeerDetail(APIView):
    """A peer: DELETE takes it off the list."""

    permissions = {"write": Permission.MANAGE_ORGANISATION}

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: int, peer: int) -> Response:
        row = get_or_404(Peer.objects, actor_of(request), pk=peer, receiver=pk)
        services.remove_peer(actor=actor_of(request), peer=row)
        return Response(status=204)
