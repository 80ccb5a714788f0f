"""Looking at servers: which ones a sink's settings name, and whether they can be connected to."""

from __future__ import annotations

import socket

import pytest
from msgspec import Struct

from domstat.config import parse
from domstat.doctor.look.network import addresses, see_targets


class Settings(Struct):
    url: object = None
    urls: object = None
    proxy: object = None


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        (Settings(url="http://db:8086/write?x=1"), [("db", 8086)]),
        (Settings(url="https://db"), [("db", 443)]),
        (Settings(url="http://[::1]"), [("::1", 80)]),
        (Settings(urls=("http://a:1", "http://b:2")), [("a", 1), ("b", 2)]),
        (Settings(url="http://db:8086", proxy="http://proxy:3128"), [("proxy", 3128)]),
        (Settings(url="unix:///run/db"), []),
        (Settings(url="http://db:99999"), []),
        (Settings(url=7), []),
        (Settings(), []),
    ],
)
def test_servers_are_named_by_urls(settings: Settings, wanted: list[tuple[str, int]]) -> None:
    assert list(addresses(settings)) == wanted


def test_a_server_that_listens_can_be_connected_to_and_one_that_does_not_cannot() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # nobody else gets the port, and nobody listens
        there, gone = listener.getsockname()[1], bound.getsockname()[1]
        sinks = parse(
            "".join(
                f'[[sinks]]\ntype = "influxdb"\nname = "{name}"\nurl = "http://127.0.0.1:{port}"\nbucket = "b"\n'
                for name, port in (("there", there), ("gone", gone))
            )
        ).sinks
        first, second = see_targets(sinks)
    assert (first.sink, first.address, first.error) == ("there", f"127.0.0.1:{there}", "")
    assert (second.sink, second.error) == ("gone", "Connection refused")
