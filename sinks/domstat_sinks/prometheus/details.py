"""What a guest, its devices and a storage pool *are*, as info metrics: labels beside the number 1. Pure.

::

    domstat_guest_info{host="kvm1",uuid="6a2f…",domain="web-1",label_title="shop",label_nova_project="acme"} 1
    domstat_device_info{host="kvm1",uuid="6a2f…",domain="web-1",device="vda",bus="virtio",path="/var/…"} 1

They are joined to the figures where a question needs them, so that a guest whose title is changed keeps its series.
What people call a guest is theirs to name: such labels begin with ``label_``, and cannot take a name of domstat's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from domstat.model import Kind
from domstat_sinks.prometheus.names import (
    DEVICE_INFO,
    GUEST_INFO,
    POOL_INFO,
    Family,
    apart,
    escaped,
    label_name,
    label_text,
    label_value,
)
from domstat_sinks.prometheus.plan import LABELS_HERE
from domstat_sinks.prometheus.subjects import About

LABELS_MAX = 64
"""Labels of one guest, one pool, one device: as many as a guest has at most."""

DEVICES_MAX = 1_024
"""Devices of one guest that are described, several times what QEMU can plug."""

OWN_LABELS = ("host", "uuid", "domain", "pool", "device")
"""Labels that say whose a sample is."""

_CALLED = {"device": "device_type"}
"""Details that are called otherwise here: a disk's *device* is whether it is a CD-ROM."""

_GUEST = (GUEST_INFO,)
_GUEST_WITH_DEVICES = (GUEST_INFO, DEVICE_INFO)
_POOL = (POOL_INFO,)


class Details:
    """What is written of one guest or pool besides its figures; made once, for as long as *abouts* stay the same.

    *kind* is Kind.GUEST or Kind.POOL; *abouts* is what its streams said, the newest first.
    """

    __slots__ = ("_texts", "abouts", "families")

    def __init__(self, kind: Kind, abouts: Sequence[About]) -> None:
        self.abouts = abouts
        labels = next((about.labels for about in abouts if about.labels is not None), {})
        info, prefix = (POOL_INFO, "") if kind is Kind.POOL else (GUEST_INFO, "label_")
        self._texts = [_sample(info, b"", _pairs(labels, prefix))]
        devices: dict[str, dict[str, str]] = {}
        for about in reversed(abouts if kind is Kind.GUEST else ()):
            devices |= about.devices or {}
        lines = _devices(devices)
        if lines:
            self._texts.append(b"".join(lines))
        self.families = _POOL if kind is Kind.POOL else _GUEST_WITH_DEVICES if lines else _GUEST
        """What is written."""

    def write(self, labels: bytes) -> list[bytes]:
        """Write it under the *labels* that say whose it is, a text for each family."""
        return [text.replace(LABELS_HERE, labels) for text in self._texts]


def _devices(devices: Mapping[str, Mapping[str, str]]) -> list[bytes]:
    lines: dict[bytes, bytes] = {}
    for device, details in list(devices.items())[:DEVICES_MAX]:
        name = label_value(device)
        if name and name not in lines:  # one that differs in nothing that can be written
            lines[name] = _sample(DEVICE_INFO, b',device="%s"' % name, _pairs(details))
    return list(lines.values())


def _sample(family: Family, labels: bytes, more: bytes) -> bytes:
    return b"%s{%s%s%s} 1\n" % (family.name.encode(), LABELS_HERE, labels, more)


def _pairs(texts: Mapping[str, str], prefix: str = "") -> bytes:
    """Write *texts* as further labels."""
    return b"".join(b',%s="%s"' % (name.encode(), escaped(text)) for name, text in further_labels(texts, prefix))


def further_labels(
    texts: Mapping[str, str], prefix: str = "", own: Iterable[str] = OWN_LABELS
) -> Iterator[tuple[str, bytes]]:
    """Name *texts* as labels beside those called *own*, in an order that is always the same; empty ones are none."""
    taken = set(own)
    for key in sorted(texts)[:LABELS_MAX]:
        name = label_name(_CALLED.get(key, key), prefix)
        while name in taken:
            name = apart(name, key)
        taken.add(name)
        if texts[key]:
            yield name, label_text(texts[key])
