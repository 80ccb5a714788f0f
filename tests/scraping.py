"""What the prometheus sink writes, read back by prometheus-client's parser, which knows nothing of ours."""

from __future__ import annotations

import re
from collections.abc import Iterable

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from domstat.model import Batch
from domstat_sinks.prometheus.exposition import Exposition
from domstat_sinks.prometheus.store import Store
from records import TIME_MS

STALE_AFTER_S = 300.0

Key = tuple[str, frozenset[tuple[str, str]]]
"""A sample's name and labels."""


def exposed(*batches: Batch, store: Store | None = None, now_s: float = 0.0) -> str:
    """Write what is shown after *batches*, which all came at once."""
    store = store or Store(STALE_AFTER_S)
    store.add(batches, now_s, TIME_MS)
    return b"".join(Exposition().write(store.snapshot(now_s))).decode()


def families(text: str) -> dict[str, Metric]:
    """Read the families of a text, by the name that its samples have."""
    found: dict[str, Metric] = {}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert name not in found
        found[name] = family
    return found


def samples(text: str) -> dict[Key, float]:
    """Read all samples of a text; there are no two alike, none has a timestamp, and families stand together."""
    found: dict[Key, float] = {}
    for family in families(text).values():
        for sample in family.samples:
            key = (sample.name, frozenset((name, value) for name, value in sample.labels.items() if value))
            assert key not in found, key
            assert sample.timestamp is None
            found[key] = sample.value
    names = [line.split(" ")[2] for line in text.split("\n") if line.startswith("# TYPE ")]
    in_order = [re.split(r"[{ ]", line)[0] for line in text.split("\n") if line and not line.startswith("#")]
    assert list(dict.fromkeys(in_order)) == names, "families that are not in one piece, or without a head"
    assert sorted(in_order) == in_order
    assert len(in_order) == len(found)
    return found


def values(found: dict[Key, float], name: str, *by: str) -> dict[str | tuple[str, ...], float]:
    """Pick the samples of one name: their values by the labels *by*, absent ones empty."""
    picked: dict[str | tuple[str, ...], float] = {}
    for (sample, labels), value in found.items():
        if sample == name:
            texts = tuple(dict(labels).get(label, "") for label in by)
            key = texts[0] if len(by) == 1 else texts
            assert key not in picked
            picked[key] = value
    return picked


def domains(found: dict[Key, float] | str) -> list[str]:
    """Return the names of all guests there are."""
    read = samples(found) if isinstance(found, str) else found
    return sorted(str(name) for name in values(read, "domstat_guest_info", "domain"))


def labels_of(found: dict[Key, float], name: str) -> list[dict[str, str]]:
    """Return the labels of the samples of one name."""
    return [dict(labels) for sample, labels in found if sample == name]


def unescaped(written: bytes) -> str:
    """Read a label's value as the format says."""
    text = written.decode()
    return re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], text, flags=re.DOTALL)


def duplicates(names: Iterable[str]) -> set[str]:
    """Return those names that are there twice."""
    seen: set[str] = set()
    return {name for name in names if name in seen or seen.add(name)}  # type: ignore[func-returns-value]
