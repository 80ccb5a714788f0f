"""As much of HTTP as an endpoint needs that is asked for one page: the head of a request in, an answer out. Pure.

A request's body is of no interest and never read, and every answer closes its connection: a client that comes every
few seconds needs no connection in between, and one that keeps it would keep others out.
"""

from __future__ import annotations

from http import HTTPStatus

from msgspec import Struct

HEAD_BYTES_MAX = 16 * 1024
"""Bytes of a request's line and headers; Prometheus sends 300, browsers with cookies a few thousand."""

HEADERS_MAX = 64
"""Headers of a request; Prometheus sends 5, a chain of proxies may add a dozen."""

_METHODS = ("GET", "HEAD")
_VERSIONS = ("HTTP/1.0", "HTTP/1.1")


class Request(Struct, frozen=True):
    """What was asked for."""

    path: str
    head_only: bool = False
    takes_gzip: bool = False


class Answer(Struct, frozen=True):
    """What is answered: a status, what the body is, and the body."""

    status: HTTPStatus
    type: str = "text/plain; charset=utf-8"
    body: bytes = b""
    gzipped: bool = False
    more: tuple[str, ...] = ()
    """Further headers, as they are written."""

    def write(self, *, head_only: bool = False) -> bytes:
        """Write it as it is sent; *head_only* is how HEAD is answered."""
        headers = [
            f"HTTP/1.1 {self.status.value} {self.status.phrase}",
            f"Content-Type: {self.type}",
            f"Content-Length: {len(self.body)}",
            "Connection: close",
            "Cache-Control: no-store",
            "X-Content-Type-Options: nosniff",
            *(("Content-Encoding: gzip", "Vary: Accept-Encoding") if self.gzipped else ()),
            *self.more,
        ]
        return "\r\n".join([*headers, "", ""]).encode("ascii") + (b"" if head_only else self.body)


def refuse(status: HTTPStatus, *more: str) -> Answer:
    """Make an answer that says no more than its status."""
    return Answer(status, body=f"{status.value} {status.phrase}\n".encode(), more=more)


def parse(head: bytes) -> Request | Answer:
    """Read a request's head, everything before the empty line; return what to answer if it is not to be had."""
    line, *headers = head.decode("latin-1").split("\r\n")
    if len(headers) > HEADERS_MAX:
        return refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
    words = line.split(" ")
    if len(words) != 3 or not all(words) or any(":" not in header for header in headers):
        return refuse(HTTPStatus.BAD_REQUEST)
    method, target, version = words
    if version not in _VERSIONS:
        return refuse(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
    if method not in _METHODS:
        return refuse(HTTPStatus.METHOD_NOT_ALLOWED, f"Allow: {', '.join(_METHODS)}")
    named = [(name.lower(), value) for name, _, value in (header.partition(":") for header in headers)]
    accepted = ",".join(value for name, value in named if name == "accept-encoding")
    return Request(_path(target), method == "HEAD", _takes_gzip(accepted))


def _path(target: str) -> str:
    """Return a target's path; one that a proxy was asked for begins with the server's address."""
    path = target.partition("?")[0]
    if path.startswith("http://"):
        path = "/" + path.removeprefix("http://").partition("/")[2]
    return path


def _takes_gzip(accepted: str) -> bool:
    for item in accepted.split(","):
        coding, _, weight = item.replace(" ", "").lower().partition(";")
        if coding == "gzip":
            return weight not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False
