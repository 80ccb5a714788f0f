"""The sink's settings."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from domstat.settings import Duration


class PrometheusSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Shows the latest of everything to Prometheus, which scrapes it at /metrics."""

    listen: Annotated[
        str,
        Meta(
            description="Address and port of the endpoint, IPv6 in brackets. It has no password: whoever may see it "
            "sees every guest's name and labels, so beyond this machine leave it to a proxy or a firewall.",
        ),
    ] = "127.0.0.1:10177"
    stale_after: Annotated[
        Duration,
        Meta(
            description="What a stream (a host's collect block) said is shown for so long when no tick comes any more, "
            "and for three of its intervals if these are longer. As long as Prometheus itself looks back."
        ),
    ] = Duration(300)
