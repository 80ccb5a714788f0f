"""The prometheus sink, scraped by a real Prometheus and looked at by promtool's linter."""

from __future__ import annotations

import contextlib
import math
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from domstat.catalog import DERIVED, FIELDS, ValueType
from domstat.model import Batch, Kind, Record, Value
from domstat.sink import SinkContext
from domstat_lab import processes
from domstat_lab.errors import LabError
from domstat_lab.servers import Prometheus, program
from domstat_sinks.prometheus import PrometheusSink
from domstat_sinks.prometheus.settings import PrometheusSettings
from heard import Log
from records import (
    agent_record,
    batch,
    event_record,
    gap_record,
    guest_record,
    one_of_each,
    other_record,
    sleeper_record,
)
from shown import Show

CONFIG = """
global: {{scrape_interval: {every}, scrape_timeout: {every}}}
scrape_configs: [{{job_name: domstat, static_configs: [{{targets: ["127.0.0.1:{port}"]}}]}}]
"""
SCRAPED_TIMEOUT_S = 60.0
"""A Prometheus begins to scrape some five seconds after it has started."""

REFUSED_BY_LIBVIRT = {"/", "\n", "\0"}
SURROGATES = range(0xD800, 0xE000)
"""Not in any text that is UTF-8."""
PER_NAME = 40

FOOLING = [
    "\\", "\\\\", '"', '\\"', "\\n", "a\\", "}", "{", "a}", '"} 1', 'a",host="b', "=", ",", "#", "# HELP a", " ", "  ",
    " a", "a ", "\t", "\r", "a\r", "\x0b", "\x85", "\u2028", "\u2029", "\ufeff", "\ufffd", "\uffff", "\U0010ffff", "é",
    "e\u0301", "中", "😀", "\u202eabc", "'", "`", "$", "%s", "%", "NaN", "+Inf", "__name__", "a" * 250, "é" * 120,
]  # fmt: skip
"""Names that mean something in the format, or look like nothing."""

VALUES: dict[ValueType, Value] = {
    ValueType.I64: -3, ValueType.U64: 2**53, ValueType.F64: 1.5, ValueType.BOOL: True, ValueType.TEXT: 'a "text"',
}  # fmt: skip


class Scraped:
    """A sink, and the Prometheus that scrapes it."""

    def __init__(self, sink: PrometheusSink, server: Prometheus) -> None:
        self.sink = sink
        self.server = server

    def write(self, *batches: Batch) -> None:
        """Write, and return when the newest batch has been scraped."""
        self.sink.write(batches)
        stamp = batches[-1].stamp.time_ms / 1000
        selector = f'domstat_stream_last_tick_timestamp_seconds{{collect="{batches[-1].collect}"}}'
        processes.wait_until(
            lambda: [float(found["value"][1]) for found in self.server.query(selector)] == [stamp],
            timeout_s=SCRAPED_TIMEOUT_S,
            otherwise=f"no scrape: {self.server.ask('/api/v1/targets')}",
        )

    def stored(self, selector: str = '{__name__=~"domstat_.+"}') -> dict[tuple[str, ...], float]:
        """Return what the Prometheus shows now: values by name and labels."""
        return {
            key_of(found["metric"].pop("__name__"), found["metric"]): float(found["value"][1])
            for found in self.server.query(selector)
        }

    def text(self) -> str:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.sink.port}/metrics", timeout=30) as found:
            return str(found.read().decode())


def key_of(name: str, labels: dict[str, str]) -> tuple[str, ...]:
    pairs = (f"{label}={value}" for label, value in labels.items() if label not in {"job", "instance"} and value)
    return (name, *sorted(pairs))


def needed(*names: str) -> None:
    try:
        for name in names:
            program(name)
    except LabError as error:
        pytest.skip(str(error))


@contextlib.contextmanager
def scraping(every: str) -> Iterator[Scraped]:
    needed("prometheus")
    sink = PrometheusSink(PrometheusSettings(listen="127.0.0.1:0"))
    sink.open(SinkContext("prometheus", Path(), Log(), lambda _record, _reason: None))
    try:
        with tempfile.TemporaryDirectory(prefix="domstat-") as folder:
            config = CONFIG.format(port=sink.port, every=every)
            with Prometheus(Path(folder), config=config) as server:
                yield Scraped(sink, server)
    finally:
        sink.close()


@pytest.fixture(scope="module")
def scraped() -> Iterator[Scraped]:
    with scraping("200ms") as one:
        yield one


def tick(*records: Record, collect: str = "default") -> Batch:
    time_ms = time.time_ns() // 1_000_000
    return batch(*records, agent_record(collect=collect, time_ms=time_ms), collect=collect, time_ms=time_ms)


def everything() -> list[Batch]:
    """Every kind of record, every field of the catalogue with a value of its type, and strangers."""
    params: dict[str, Value] = {
        name if i % 2 else f"{name}[a]": VALUES[field.type] for i, (name, field) in enumerate(FIELDS.items())
    }
    params |= {"vcpu.halt_poll.sum[0]": 5, "vm.unheard-of": 1.25, "vm.unheard_of": 1}
    everywhere = guest_record(
        "all",
        uuid="all",
        params=params,
        first=True,
        derived=dict.fromkeys(DERIVED, 0.5),
        labels={"title": 'a "b"\n\\', "nova.project": "é"},
        devices={"vda": {"path": "/x", "device": "cdrom", "backingIndex": "1"}},
    )
    host = other_record(Kind.HOST, host="kvm2", params={"host.cpu.intr": 5})
    survey = batch(sleeper_record(), one_of_each()[Kind.POOL], collect="survey", time_ms=time.time_ns() // 1_000_000)
    kinds = one_of_each()
    return [
        survey,
        batch(event_record(), collect="events"),
        batch(gap_record()),
        tick(kinds[Kind.HOST], host, kinds[Kind.GUEST], everywhere),
    ]


def test_a_real_prometheus_stores_every_sample_as_it_was_written(scraped: Scraped) -> None:
    scraped.write(*everything())
    written = {
        key_of(sample.name, sample.labels): float(sample.value)
        for family in text_string_to_metric_families(scraped.text())
        for sample in family.samples
        if sample.name.startswith("domstat_")
    }
    assert len(written) > len(FIELDS)
    assert scraped.stored() == written


def test_it_knows_every_familys_type_and_help(scraped: Scraped) -> None:
    scraped.write(*everything())
    expected = {
        family.name + ("_total" if family.type == "counter" else ""): (family.type, family.documentation)
        for family in text_string_to_metric_families(scraped.text())
    }
    found = scraped.server.ask("/api/v1/targets/metadata")["data"]
    stored = {each["metric"]: (each["type"], each["help"]) for each in found}
    assert {name: stored[name] for name in expected} == expected


def test_a_guest_that_is_gone_is_gone_with_the_next_scrape(scraped: Scraped) -> None:
    scraped.write(tick(guest_record("stays", uuid="a"), guest_record("goes", uuid="b")))
    assert names(scraped) == {"stays", "goes"}
    scraped.write(tick(guest_record("stays", uuid="a")))
    assert names(scraped) == {"stays"}
    scraped.write(tick(guest_record("stays", uuid="a"), guest_record("goes", uuid="b")))
    assert names(scraped) == {"stays", "goes"}


def names(scraped: Scraped) -> set[str]:
    found = scraped.server.query('domstat_guest_info{collect!="survey"}')
    return {each["metric"].get("domain", "") for each in found} - {"old-1"}


def named(texts: Iterable[str]) -> list[Record]:
    """Guests of these names."""
    return [
        guest_record(name, uuid=f"u{number}", params={"cpu.time": number}, first=True)
        for number, name in enumerate(texts)
    ]


def alike(scraped: Scraped, texts: list[str]) -> int:
    """Send guests of these names through Prometheus; return how many come back with their own name and value."""
    scraped.write(tick(*named(texts)))
    found = scraped.server.query("domstat_cpu_time_seconds_total")
    back = {each["metric"]["uuid"]: (each["metric"].get("domain", ""), float(each["value"][1])) for each in found}
    assert len(back) == len(texts)
    return sum(back[f"u{i}"][0] == text and math.isclose(back[f"u{i}"][1], i / 1e9) for i, text in enumerate(texts))


def test_hostile_names_of_guests_come_back_as_they_were(scraped: Scraped) -> None:
    points = [chr(point) for point in range(1, 0x180) if chr(point) not in REFUSED_BY_LIBVIRT]
    texts = list(dict.fromkeys([*FOOLING, *points, *(f"a{point}b" for point in points)]))
    assert alike(scraped, texts) == len(texts)


def test_hostile_devices_and_labels_come_back_as_they_were(scraped: Scraped) -> None:
    texts = [text for text in FOOLING if text]
    params: dict[str, Value] = {f"net.rx.bytes[{text}]": 1 for text in texts}
    labels = dict(zip((f"l{number}" for number in range(len(texts))), texts, strict=True))
    devices = {text: {"path": text} for text in texts}
    scraped.write(tick(guest_record(params=params, first=True, labels=labels, devices=devices)))
    for metric, label in (("net_rx_bytes_total", "device"), ("device_info", "device"), ("device_info", "path")):
        found = [each["metric"][label] for each in scraped.server.query(f"domstat_{metric}")]
        assert sorted(found) == sorted(texts)
    (info,) = scraped.server.query('domstat_guest_info{domain="web-1"}')
    assert {name: info["metric"][f"label_{name}"] for name in labels} == labels


@pytest.mark.faults
def test_names_with_every_character_that_libvirt_accepts_come_back_as_they_were(
    show: Show,
) -> None:
    points = (chr(point) for point in range(sys.maxunicode + 1) if point not in SURROGATES)
    accepted = "".join(character for character in points if character not in REFUSED_BY_LIBVIRT)
    texts = [accepted[at : at + PER_NAME] for at in range(0, len(accepted), PER_NAME)]
    with scraping("5s") as scraped:
        same = alike(scraped, texts)
    show({"prometheus_names": len(texts), "characters": len(accepted), "equal": same})
    assert same == len(texts)


def blocks(language: str) -> list[str]:
    page = Path(__file__).parents[2] / "docs" / "sinks" / "prometheus.md"
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def test_the_documentations_questions_have_answers(scraped: Scraped) -> None:
    scraped.write(*everything())
    questions = [line for block in blocks("promql") for line in re.sub(r"\n +", " ", block).splitlines()]
    assert len(questions) >= 5
    for question in questions:
        scraped.server.query(question)  # an error is no answer


def test_the_documentations_configuration_is_one_that_prometheus_takes(tmp_path: Path) -> None:
    needed("promtool")
    (text,) = blocks("yaml")
    (tmp_path / "prometheus.yml").write_text(text)
    command = [str(program("promtool")), "check", "config", str(tmp_path / "prometheus.yml")]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_promtools_linter_finds_nothing_to_say(scraped: Scraped) -> None:
    needed("promtool")
    scraped.sink.write([*everything(), tick(*named(FOOLING), collect="other")])
    # What the agent says of its process and version is prometheus-client's own writing.
    checked = subprocess.run(
        [str(program("promtool")), "check", "metrics"], input=scraped.text().encode(), capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
