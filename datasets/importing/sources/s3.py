"""A bucket of an S3 server (AWS, MinIO, Ceph, Alibaba, ...): listed and read with signed requests by the one HTTP client.

Two calls are needed, ListObjectsV2 and GetObject. boto3 and s3fs resolve names themselves, bring 30 MB, and look for credentials
in their surroundings; the signature (AWS Signature Version 4) is twenty lines, which the tests compare with botocore's.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO, Any, ClassVar
from urllib.parse import quote, urlsplit

from django import forms
from django.utils.translation import gettext_lazy
from lxml import etree

from datasets import temporary
from datasets.importing.base import Faulty, FileFault, SourceError
from datasets.importing.http import Client, limited, shown
from datasets.importing.network import Network
from datasets.importing.said import gettext as _
from datasets.importing.sources.files import Entry, FilesForm, FileSource
from datasets.importing.sources.web import clean_address

EMPTY = hashlib.sha256(b"").hexdigest()
PAGE = 1000  # keys in one answer, the most that S3 gives


class S3Form(FilesForm):
    """What a person fills in."""

    address = forms.CharField(
        label=gettext_lazy("Address"),
        max_length=500,
        help_text=gettext_lazy("Of the server, such as https://s3.hospital.example:9000 or https://s3.eu-central-1.amazonaws.com."),
    )
    region = forms.CharField(label=gettext_lazy("Region"), initial="us-east-1", max_length=50)
    bucket = forms.CharField(label=gettext_lazy("Bucket"), max_length=63)
    prefix = forms.CharField(  # type: ignore[assignment]  # a field; a form has an attribute of this name
        label=gettext_lazy("Folder"), required=False, max_length=900, help_text=gettext_lazy("In the bucket. Empty: all of it.")
    )
    access_key = forms.CharField(label=gettext_lazy("Access key"), max_length=200)
    secret_key = forms.CharField(label=gettext_lazy("Secret key"), widget=forms.PasswordInput, required=False, max_length=500)
    field_order = ("address", "region", "bucket", "prefix", "access_key", "secret_key", "pattern", "subfolders")

    def clean_address(self) -> str:
        address = clean_address(self.cleaned_data["address"]).rstrip("/")
        if urlsplit(address).path or urlsplit(address).query or urlsplit(address).fragment:
            raise forms.ValidationError(_("Enter the address of the server alone, without a path."))
        return address

    def clean_region(self) -> str:
        return _matching(self.cleaned_data["region"], r"[a-z0-9-]+", _("A region has small letters, digits and hyphens."))

    def clean_bucket(self) -> str:
        text = _("A bucket's name has 3 to 63 small letters, digits, dots and hyphens.")
        return _matching(self.cleaned_data["bucket"], r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", text)

    def clean_access_key(self) -> str:
        return _matching(self.cleaned_data["access_key"], r"[!-+\--~]+", _("This is no access key."))


def _matching(given: str, pattern: str, text: str) -> str:
    given = given.strip()
    if not re.fullmatch(pattern, given):
        raise forms.ValidationError(text)
    return given


class S3Source(FileSource):
    """See the module's text."""

    kind: ClassVar[str] = "s3"
    label: ClassVar[Any] = gettext_lazy("S3 bucket")
    explained: ClassVar[Any] = gettext_lazy("Objects of a bucket, at Amazon or on a server of your own that speaks S3.")
    Form: ClassVar[type[forms.Form]] = S3Form
    secrets: ClassVar[frozenset[str]] = frozenset({"secret_key"})
    settle: ClassVar[float | None] = None

    def __init__(self, settings: Mapping[str, Any], network: Network) -> None:
        super().__init__(settings, network)
        self.address, self.bucket = str(settings["address"]), str(settings["bucket"])
        prefix = str(settings.get("prefix") or "").strip("/")
        self.prefix = f"{prefix}/" if prefix else ""
        self.client = Client(network, self.address)

    def entries(self) -> Iterator[Entry | Faulty]:
        token, last = "", ""
        while True:
            query = {"list-type": "2", "max-keys": str(PAGE), "prefix": self.prefix}
            query |= {} if self.subfolders else {"delimiter": "/"}
            query |= {"continuation-token": token} if token else {}
            root = self._asked(query)
            for item in root.iterfind("{*}Contents"):
                key = item.findtext("{*}Key") or ""
                if key.endswith("/"):
                    continue  # what consoles make for an empty folder
                try:
                    size, modified = int(item.findtext("{*}Size") or 0), _time(item.findtext("{*}LastModified") or "")
                except ValueError:
                    raise self._strange() from None
                if not key.startswith(self.prefix) or key <= last:
                    raise self._strange()  # a server that begins again would be listed without end
                last = key
                yield Entry(key[len(self.prefix) :], size, modified, item.findtext("{*}ETag") or "")
            token = root.findtext("{*}NextContinuationToken") or ""
            if root.findtext("{*}IsTruncated") != "true":
                return
            if not token:
                raise self._strange()

    def _asked(self, query: Mapping[str, str]) -> Any:
        url, headers = self._signed(f"/{self.bucket}", query)
        try:
            answer = self.client.get(url, headers=headers, accept=(200,))
        except SourceError as error:
            raise self._told(error) from None
        try:
            # Neither entities nor anything else is fetched or unfolded.
            root = etree.fromstring(answer.body, etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False))
        except etree.XMLSyntaxError:
            raise self._strange() from None
        if str(getattr(root.getroottree().docinfo, "doctype", "")) or etree.QName(root).localname != "ListBucketResult":
            raise self._strange()
        return root

    @contextmanager
    def opened(self, entry: Entry) -> Iterator[IO[bytes]]:
        url, headers = self._signed(f"/{self.bucket}/{self.prefix}{entry.path}", {})
        with temporary.file("arrived-") as kept:
            try:
                sent = {**headers, "If-Match": entry.mark} if entry.mark else headers
                with self.client.stream(url, headers=sent, accept=(200, 403, 404, 412, 500)) as (response, chunks):
                    self._judge(response.status_code)
                    if response.headers.get("content-encoding", "identity") != "identity":
                        chunks = response.iter_raw()  # the object as it is kept: its hash and size are of that
                    for chunk in limited(chunks, entry.size, url):
                        kept.write(chunk)
            except FileFault:
                raise
            except SourceError as error:
                if error.code == "too_large":
                    raise _changed() from None
                raise self._told(error) from None
            if kept.tell() != entry.size:
                raise _changed()
            kept.seek(0)
            yield kept

    @staticmethod
    def _judge(status: int) -> None:
        """Of one object, of a bucket that could be listed. Raises FileFault."""
        if status in (403, 500):
            text = _("The server does not give this object (%(status)d).")
            raise FileFault("refused", text % {"status": status}, passing=True)
        if status != 200:
            raise _changed()

    def _signed(self, path: str, query: Mapping[str, str]) -> tuple[str, dict[str, str]]:
        keys = str(self.settings["access_key"]), str(self.settings.get("secret_key") or "")
        return signed(self.address, path, query, keys, str(self.settings["region"]), datetime.now(UTC))

    def _told(self, error: SourceError) -> SourceError:
        where = {"address": shown(self.address), "bucket": self.bucket}
        match error.code:
            case "forbidden" | "sign_in":
                text = _("%(address)s refuses the access key, or lets it not read the bucket %(bucket)s. Enter the keys again.")
                return SourceError("sign_in", text % where)
            case "not_found":
                return SourceError("not_found", _("%(address)s has no bucket %(bucket)s.") % where)
            case _:
                return error

    def _strange(self) -> SourceError:
        text = _("%(url)s answers with something that is no list of an S3 server. Check the address.")
        return SourceError("answer", text % {"url": shown(self.address)})

    def close(self) -> None:
        self.client.close()


def _changed() -> FileFault:
    return FileFault("changed", _("It is gone or has changed since it was listed."), passing=True)


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def signed(
    address: str, path: str, query: Mapping[str, str], keys: tuple[str, str], region: str, now: datetime
) -> tuple[str, dict[str, str]]:
    """A GET's address and headers by AWS Signature Version 4, for the service s3."""
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    coded = quote(path, safe="/-_.~")
    asked = "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in sorted(query.items()))
    host = urlsplit(address).netloc
    names = "host;x-amz-content-sha256;x-amz-date"
    request = f"GET\n{coded}\n{asked}\nhost:{host}\nx-amz-content-sha256:{EMPTY}\nx-amz-date:{stamp}\n\n{names}\n{EMPTY}"
    scope = f"{day}/{region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{keys[1]}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    headers = {
        "x-amz-date": stamp, "x-amz-content-sha256": EMPTY,
        "Authorization": f"AWS4-HMAC-SHA256 Credential={keys[0]}/{scope}, SignedHeaders={names}, Signature={signature}",
    }  # fmt: skip
    return f"{address}{coded}" + (f"?{asked}" if asked else ""), headers
