"""The S3 source against moto's server, which checks each request's signature and the user's policy."""

import json
import resource
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from datasets.arrivals.found import Refused
from datasets.importing.base import FileFault, SourceError
from datasets.importing.network import Network
from datasets.importing.sources import files, s3
from tests.datasets.importing.conftest import HERE, drained, files_of, refused, source, taken
from tests.datasets.importing.web import serving

pytestmark = [
    pytest.mark.once,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:moto", "ignore::DeprecationWarning:botocore"),
]
NAMES = ["a b+c&d=e.dcm", "ünïcode/中文.csv", "sub/~x(1)'!.csv", "z.csv"]


class Bucket:
    """A server with one bucket, and a user who may read it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.Client(
            verify=False, trust_env=False
        )  # no TLS: reading all authorities for nothing takes long
        given: dict[str, Any] = {
            "endpoint_url": url,
            "region_name": "eu-central-1",
            "aws_access_key_id": "root",
            "aws_secret_access_key": "root",
        }
        given["config"] = Config(connect_timeout=10, read_timeout=10, retries={"total_max_attempts": 1})
        self.iam, self.admin = boto3.client("iam", **given), boto3.client("s3", **given)
        self.iam.create_user(UserName="reader")
        allowed = {"Effect": "Allow", "Action": ["s3:ListBucket", "s3:GetObject"], "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        self.iam.put_user_policy(UserName="reader", PolicyName="reads", PolicyDocument=policy)
        key = self.iam.create_access_key(UserName="reader")["AccessKey"]
        self.keys = {"access_key": key["AccessKeyId"], "secret_key": key["SecretAccessKey"]}
        self.admin.create_bucket(
            Bucket="arrivals", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )

    def checks_signatures(self, on: bool) -> None:
        self.http.post(f"{self.url}/moto-api/reset-auth", content=b"0" if on else b"inf").raise_for_status()

    def put(self, name: str, content: bytes) -> None:
        self.checks_signatures(False)
        self.admin.put_object(Bucket="arrivals", Key=name, Body=content)
        self.checks_signatures(True)


@pytest.fixture(scope="module")
def server() -> Iterator[Bucket]:
    from moto.server import ThreadedMotoServer

    made = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    made.start()
    try:
        host, port = made.get_host_and_port()
        bucket = Bucket(f"http://{host}:{port}")
        yield bucket
        bucket.admin.close()  # the server waits for who is connected
        bucket.iam.close()
        bucket.http.close()
    finally:
        made.stop()


@pytest.fixture
def bucket(server: Bucket) -> Bucket:
    server.checks_signatures(False)
    for item in server.admin.list_objects_v2(Bucket="arrivals").get("Contents", ()):
        server.admin.delete_object(Bucket="arrivals", Key=item["Key"])
    for name in NAMES:
        server.admin.put_object(Bucket="arrivals", Key=f"in/{name}", Body=name.encode())
    server.admin.put_object(Bucket="arrivals", Key="other/x.csv", Body=b"x")
    server.checks_signatures(True)
    return server


def of(bucket: Bucket, /, network: Network = HERE, **given: Any) -> Any:
    usual = {
        "address": bucket.url,
        "region": "eu-central-1",
        "bucket": "arrivals",
        "prefix": "in",
        "subfolders": True,
        **bucket.keys,
    }
    return source("s3", network, **{**usual, **given})


def test_check_preview_first_then_nothing_then_the_new(bucket: Bucket) -> None:
    assert of(bucket).check().startswith("Found 4 files")
    assert sorted(of(bucket).preview().files) == sorted(NAMES)
    made = of(bucket)
    pieces = list(made.pieces({}))
    assert files_of(pieces) == {name: name.encode() for name in NAMES}
    cursor = pieces[-1].cursor
    assert drained(of(bucket), cursor)[0] == []
    bucket.put("in/new.csv", b"new")
    bucket.put("in/z.csv", b"changed")
    made = of(bucket)
    assert files_of(list(made.pieces(cursor))) == {"new.csv": b"new", "z.csv": b"changed"}
    assert [file.name for piece in drained(of(bucket, subfolders=False))[0] for file in piece.files].count(
        "sub/~x(1)'!.csv"
    ) == 0


def test_pages_and_cut_off_and_gone_on(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "PAGE", 2)
    monkeypatch.setattr(files, "FILES", 1)
    half = of(bucket)
    first = next(half.pieces({}))
    made = of(bucket)
    rest = files_of(list(made.pieces(first.cursor)))
    assert {*rest, first.files[0].name} == set(NAMES)
    assert first.files[0].name not in rest


def test_wrong_secrets_buckets_and_addresses(bucket: Bucket) -> None:
    for given, code in [({"secret_key": "wrong"}, "sign_in"), ({"access_key": "AKIAWRONG"}, "sign_in"),
                        ({"bucket": "missing"}, "not_found"), ({"network": Network()}, "address_refused")]:  # fmt: skip
        with pytest.raises(SourceError) as caught:
            of(bucket, **given).check()
        assert (caught.value.code, caught.value.passing) == (code, False), given


def test_an_object_that_changes_meanwhile_fails_alone(bucket: Bucket) -> None:
    made = of(bucket, pattern="z.csv a*")
    (piece,) = made.pieces({})
    bucket.put("in/z.csv", b"z.csv".swapcase())  # as long as before
    fine, changed = sorted(piece.files, key=lambda file: file.name)
    with pytest.raises(FileFault), changed.open():
        pass
    assert files_of([type(piece)({}, files=[fine])]) == {NAMES[0]: NAMES[0].encode()}


@pytest.mark.parametrize("path", ["/bucket", "/bucket/a b+c&d=e/~(1)'!*.csv", "/bucket/ünï/中文.csv"])
def test_the_signature_is_botocores(path: str) -> None:
    query = {"list-type": "2", "prefix": "a b/+&=ü~", "max-keys": "5"} if path == "/bucket" else {}
    now = datetime(2026, 11, 29, 12, 0, 0, tzinfo=UTC)
    url, headers = s3.signed("https://s3.example:9000", path, query, ("KEY", "secret"), "eu-west-1", now)
    request = AWSRequest(
        "GET",
        url,
        headers={
            "host": "s3.example:9000",
            "x-amz-content-sha256": s3.EMPTY,
            "x-amz-date": headers["x-amz-date"],
        },
    )
    request.context["timestamp"] = headers["x-amz-date"]
    signer = S3SigV4Auth(Credentials("KEY", "secret"), "s3", "eu-west-1")
    text = signer.string_to_sign(request, signer.canonical_request(request))
    assert headers["Authorization"].endswith("Signature=" + signer.signature(text, request))


LIST = "<ListBucketResult><IsTruncated>{}</IsTruncated><Contents><Key>in/a</Key><Size>{}</Size>{}</Contents>{}</ListBucketResult>"
TIME = "<LastModified>2026-01-01T00:00:00Z</LastModified>"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>", b"{}", LIST.format("true", 1, TIME, "").encode(), LIST.format("false", "x", TIME, "").encode(),
        LIST.format("false", 1, "", "").encode(),
        LIST.format("true", 1, TIME, "<NextContinuationToken>again</NextContinuationToken>").encode(),
        b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><ListBucketResult><Contents><Key>&b;</Key>'
        b"</Contents></ListBucketResult>",
        b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><L><Contents><Key>in/&a;</Key></Contents></L>',
    ],
)  # fmt: skip
def test_hostile_lists(body: bytes) -> None:
    with serving(lambda _request: (200, {}, body)) as web:
        given = {
            "address": web.url,
            "region": "r",
            "bucket": "abc",
            "prefix": "in",
            "access_key": "k",
            "subfolders": True,
        }
        with pytest.raises(SourceError) as caught:
            drained(source("s3", **given))
        assert (caught.value.code, caught.value.passing) == ("answer", False)


def test_the_form() -> None:
    good = {"address": "https://s3.example", "region": "r", "bucket": "abc", "access_key": "k"}
    for name, value in [("address", "https://s3.example/path"), ("address", "s3://x"), ("region", "a/b"), ("bucket", "A"),
                        ("bucket", "../x"), ("access_key", "a/b c")]:  # fmt: skip
        assert list(refused("s3", **{**good, name: value})) == [name]


def test_an_object_without_end(tmp_path: Path) -> None:
    def answer(request: Any) -> Any:
        if "list-type" in request.query:
            return 200, {}, LIST.format("false", 5, TIME, "").encode()
        return 200, {}, (b"x" * 65536 for _number in range(10_000))

    with serving(answer) as web:
        made = source(
            "s3", address=web.url, region="r", bucket="abc", prefix="in", access_key="k", subfolders=True
        )
        (piece,) = made.pieces({})
        with pytest.raises(FileFault), piece.files[0].open():
            pass


def test_an_object_that_is_refused_comes_again_and_blocks_no_other() -> None:
    status = 403

    def answer(request: Any) -> Any:
        if "list-type" in request.query:
            second = f"<Contents><Key>in/b</Key><Size>1</Size>{TIME}</Contents>"
            return 200, {}, LIST.format("false", 1, TIME, second).encode()
        return (200, {}, b"x") if request.path.endswith("b") else (status, {}, b"x")

    with serving(answer) as web:
        given = {
            "address": web.url,
            "region": "r",
            "bucket": "abc",
            "prefix": "in",
            "access_key": "k",
            "subfolders": True,
        }
        came, faulty, cursor = taken(source("s3", **given))
        assert (list(came), [(fault.where, fault.again) for fault in faulty]) == (["b"], [("a", True)])
        status = 200
        assert list(taken(source("s3", **given), cursor)[0]) == ["a"]


def test_a_full_disk_of_ours_is_told_as_that(bucket: Bucket) -> None:
    bucket.put("in/large.bin", bytes(200_000))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    made = of(bucket, pattern="large.bin")
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(Refused) as caught:
            taken(made)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.code == "disk_full"
