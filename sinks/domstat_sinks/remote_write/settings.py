"""What can be set of the remote_write sink, and what of it is wrong before anything is touched."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from domstat.settings import Duration
from domstat_sinks.sending.settings import CaFile, CredentialName, FileName, Proxy, Timeout, Verify, check_server

OWN_LABELS = frozenset(
    {"__name__", "collect", "device", "domain", "host", "job", "pool", "reason", "type", "uuid", "value"}
)
"""Labels that domstat writes itself."""

OWN_HEADERS = frozenset({
    "authorization", "connection", "content-encoding", "content-length", "content-type", "host", "transfer-encoding",
    "user-agent", "x-prometheus-remote-write-version",
})  # fmt: skip
"""Headers that are the protocol's, or hold a secret."""

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,199}")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")

LABELS_MAX = 8
"""Labels that may be added to every series: with domstat's own and some of a guest's, no more than 30, which is what
Mimir, Cortex and VictoriaMetrics take of a series."""

TEXT_BYTES_MAX = 1024
"""Bytes of a label's or a header's value."""


class RemoteWriteSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Sends what the prometheus sink shows to Mimir, Thanos, Cortex, VictoriaMetrics or Prometheus, by remote write."""

    url: Annotated[
        str,
        Meta(
            description="Where the store takes remote write (1.0), with its path: /api/v1/write at Prometheus and "
            "VictoriaMetrics, /api/v1/push at Mimir and Cortex, /api/v1/receive at Thanos.",
            min_length=1,
        ),
    ] = "http://localhost:9090/api/v1/write"
    job: Annotated[
        str, Meta(description='The label "job" of every series; without one if empty.', max_length=TEXT_BYTES_MAX)
    ] = "domstat"
    labels: Annotated[
        dict[str, str],
        Meta(
            description="Further labels of every series. Two agents that watch one host need one that differs.",
            examples=[{"cluster": "north"}],
        ),
    ] = {}
    headers: Annotated[
        dict[str, str],
        Meta(
            description="Headers of every request, such as the tenant. Secrets are no headers: see token_file.",
            examples=[{"X-Scope-OrgID": "ours"}],
        ),
    ] = {}
    token_file: Annotated[
        FileName | None,
        Meta(
            description="File with the token or with user:password, which nobody but its owner may read (mode 0600 or "
            "0400). It is read again when the server refuses it. Default: none is sent.",
            examples=["/etc/domstat/remote-write.token"],
        ),
    ] = None
    token_credential: Annotated[
        CredentialName | None,
        Meta(
            description="Name of the systemd credential with the same, in place of a file (see LoadCredential=). "
            "Default: none.",
            examples=["remote-write-token"],
        ),
    ] = None
    authorization: Annotated[
        Literal["bearer", "basic"],
        Meta(description='How it is sent: "bearer" is a token, and "basic" takes it for user:password.'),
    ] = "bearer"
    ca_file: CaFile = None
    verify: Verify = True
    timeout: Timeout = Duration(30)
    proxy: Proxy = None

    def __post_init__(self) -> None:
        check_server(self)
        if not urlsplit(self.url).path.strip("/"):
            raise ValueError("url has no path: remote write is taken at /api/v1/write, /api/v1/push or /api/v1/receive")
        _check_labels(self.labels)
        _check_headers(self.headers)


def _check_labels(labels: dict[str, str]) -> None:
    if len(labels) > LABELS_MAX:
        raise ValueError(f"labels are {len(labels)}, and at most {LABELS_MAX} may be")
    for name, text in labels.items():
        if not _LABEL.fullmatch(name) or name.startswith("__"):
            raise ValueError(f"no label can be called {name!r}: letters, digits and _, not __ in front")
        if name in OWN_LABELS:
            raise ValueError(f"no label can be called {name}: domstat has one of its own")
        if not text or len(text.encode("utf-8", "surrogatepass")) > TEXT_BYTES_MAX:
            raise ValueError(f"the label {name} is empty or too long")


def _check_headers(headers: dict[str, str]) -> None:
    for name, text in headers.items():
        if not _HEADER.fullmatch(name) or not (text.isascii() and text.isprintable()) or len(text) > TEXT_BYTES_MAX:
            raise ValueError(f"the header {name!r} cannot be sent: it must be one line of plain ASCII")
        if name.lower() in OWN_HEADERS:
            raise ValueError(f"the header {name} is the sink's own" + _hint(name))


def _hint(name: str) -> str:
    return ": put what it holds into token_file" if name.lower() == "authorization" else ""
