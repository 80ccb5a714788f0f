"""The remote_write sink at a real Prometheus, VictoriaMetrics and vmagent: what was sent is what is found."""

from __future__ import annotations

import itertools
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from domstat.model import Batch, Kind, Record
from domstat.sink import Retry
from domstat_lab import processes
from domstat_lab.errors import LabError
from domstat_lab.servers import Prometheus, VictoriaMetrics, Vmagent, program
from domstat_sinks.remote_write import RemoteWriteSink, requests
from domstat_sinks.remote_write.encoder import Encoder
from domstat_sinks.remote_write.memory import Memory
from domstat_sinks.remote_write.settings import RemoteWriteSettings
from records import agent_record, batch, guest_record, one_of_each, sleeper_record
from remotewrite import Labels, Sample, read
from told import Told

CPU = "domstat_cpu_time_seconds_total"
MINUTE_MS = 60_000

HOSTILE = [
    "\\", '"', '\\"', "\\n", "a\\", "}", "{", 'a",host="b', "=", ",", "#", " ", "  ", " a", "a ", "\t", "\r", "\n",
    "\0", "\x0b", "\x85", "\u2028", "\ufeff", "\ufffd", "\uffff", "\U0010ffff", "é", "e\u0301", "中", "😀", "\u202eabc",
    "'", "`", "$", "%s", "NaN", "__name__", "a" * 250, "é" * 120, "a" * 5000, "\x1b[31m", "\udc80",
]  # fmt: skip

Opened = Callable[..., Told]
_numbers = itertools.count()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture(scope="module")
def prometheus() -> Iterator[Prometheus]:
    needed("prometheus")
    with tempfile.TemporaryDirectory(prefix="domstat-") as folder, receiving(Path(folder)) as server:
        yield server


def receiving(folder: Path, config: str = "") -> Prometheus:
    return Prometheus(folder, config=config, arguments=["--web.enable-remote-write-receiver"])


def needed(name: str) -> None:
    try:
        program(name)
    except LabError as error:
        pytest.skip(str(error))


@pytest.fixture
def job() -> str:
    """A label that no other test's series have."""
    return f"job{next(_numbers)}"


@pytest.fixture
def opened(tmp_path: Path, job: str) -> Iterator[Opened]:
    sinks: list[Told] = []

    def make(url: str, **settings: Any) -> Told:
        sinks.append(Told(RemoteWriteSink(RemoteWriteSettings(**({"url": url, "job": job} | settings))), tmp_path))
        sinks[-1].open()
        return sinks[-1]

    yield make
    for one in sinks:
        one.sink.close()


def write_url(server: Prometheus | VictoriaMetrics | Vmagent) -> str:
    return f"{server.url}/api/v1/write"


def tick(*records: Record, time_ms: int, **more: Any) -> Batch:
    """A tick of guests made for that time."""
    return batch(*records, agent_record(time_ms=time_ms), time_ms=time_ms, **more)


def ticks(begin_ms: int, count: int, guests: int = 3) -> list[Batch]:
    return [
        tick(
            *(
                guest_record(f"g{i}", uuid=f"u{i}", time_ms=time_ms, params={"cpu.time": number * 10**9}, first=True)
                for i in range(guests)
            ),
            time_ms=time_ms,
        )
        for number, time_ms in enumerate(range(begin_ms, begin_ms + count * 1000, 1000))
    ]


def encoded(job: str, *batches: Batch) -> list[Sample]:
    """Every sample that is sent."""
    pieces = Encoder({"job": job}).encode(batches, Memory(), [])
    return [sample for piece in pieces for sample in read(piece.body)]


def key_of(labels: dict[str, str]) -> Labels:
    return tuple(sorted(labels.items()))


def found(server: Prometheus, job: str, selector: str = "") -> dict[Labels, list[tuple[int, float]]]:
    """Return all samples of a job as they are stored."""
    answer = server.ask("/api/v1/query", query=f'{{job="{job}"{selector}}}[10h]', time=str(now_ms() / 1000 + 60))
    return {
        key_of(series["metric"]): [(round(at * 1000), float(value)) for at, value in series["values"]]
        for series in answer["data"]["result"]
    }


def cpu_times(server: Prometheus, job: str) -> dict[str, list[float]]:
    stored = found(server, job, f',__name__="{CPU}"')
    return {dict(labels)["uuid"]: [value for _, value in values] for labels, values in stored.items()}


def everything(time_ms: int) -> list[Batch]:
    kinds = {kind: replace(record, time_ms=time_ms) for kind, record in one_of_each().items()}
    survey = batch(
        sleeper_record(time_ms=time_ms, collect="survey"), kinds[Kind.POOL], collect="survey", time_ms=time_ms
    )
    told = guest_record(
        "told",
        uuid="told",
        time_ms=time_ms,
        labels={"title": 'a "b"\n\\', "nova.project": "é"},
        devices={"vda": {"path": "/x", "device": "cdrom"}},
        extra={"vm.new": 2**63, "vm.real": 0.1, "vm.less": -3},
    )
    return [survey, tick(kinds[Kind.HOST], kinds[Kind.GUEST], told, time_ms=time_ms)]


def test_prometheus_has_every_sample_with_its_time_and_every_bit(
    prometheus: Prometheus, opened: Opened, job: str
) -> None:
    batches = everything(now_ms())
    assert opened(write_url(prometheus)).write(*batches) == []
    wanted = {sample.labels: [(sample.time_ms, sample.value)] for sample in encoded(job, *batches)}
    assert len(wanted) > 200
    assert found(prometheus, job) == wanted


def test_a_backlog_is_in_order_and_whole(prometheus: Prometheus, opened: Opened, job: str) -> None:
    batches = ticks(now_ms() - 10 * MINUTE_MS, 48)
    one = opened(write_url(prometheus))
    for at in range(0, 48, 16):
        assert one.write(*batches[at : at + 16]) == []
    assert cpu_times(prometheus, job) == {f"u{i}": [float(number) for number in range(48)] for i in range(3)}


def test_what_comes_twice_is_there_once_and_nothing_is_rejected(
    prometheus: Prometheus, opened: Opened, job: str
) -> None:
    batches = ticks(now_ms() - MINUTE_MS, 6)
    for some in (batches, batches[-1:], batches[2:], batches):
        one = opened(write_url(prometheus))  # as after a crash
        assert one.write(*some) == []
        assert one.parts == []
    assert cpu_times(prometheus, job) == {f"u{i}": [0, 1, 2, 3, 4, 5] for i in range(3)}


def test_a_guest_that_is_gone_is_not_found_any_more(prometheus: Prometheus, opened: Opened, job: str) -> None:
    one, begin_ms = opened(write_url(prometheus)), now_ms() - 5000

    def write(at_ms: int, *names: str) -> set[str]:
        time_ms = begin_ms + at_ms
        one.write(tick(*(guest_record(name, uuid=name, time_ms=time_ms) for name in names), time_ms=time_ms))
        shown = prometheus.ask("/api/v1/query", query=f'{{job="{job}",uuid!=""}}', time=str(time_ms / 1000))
        return {series["metric"]["uuid"] for series in shown["data"]["result"]}

    assert write(0, "stays", "goes") == {"stays", "goes"}
    assert write(1000, "stays") == {"stays"}
    assert write(2000, "stays", "goes") == {"stays", "goes"}


def test_hostile_names_devices_and_labels_come_back_as_they_were(
    prometheus: Prometheus, opened: Opened, job: str
) -> None:
    time_ms = now_ms()
    guests = [
        guest_record(
            name,
            uuid=f"u{i}",
            time_ms=time_ms,
            params={"cpu.time": i, f"net.rx.bytes[{name}]": i},
            first=True,
            labels={"title": name, name: "x"},
            devices={name: {"path": name}},
        )
        for i, name in enumerate(HOSTILE)
    ]
    one = opened(write_url(prometheus))
    assert one.write(tick(*guests, time_ms=time_ms)) == []
    assert one.parts == []
    names = {dict(labels)["uuid"]: dict(labels)["domain"] for labels in found(prometheus, job, f',__name__="{CPU}"')}
    changed = {f"u{HOSTILE.index('a' * 5000)}", f"u{HOSTILE.index(chr(0xDC80))}"}
    assert {uuid: name for uuid, name in names.items() if uuid not in changed} == {
        f"u{i}": name for i, name in enumerate(HOSTILE) if f"u{i}" not in changed
    }
    assert len(set(names.values())) == len(HOSTILE)
    titles = {dict(labels)["label_title"] for labels in found(prometheus, job, ',__name__="domstat_guest_info"')}
    assert titles >= {name for name in HOSTILE if len(name) < 5000 and name != "\udc80"}


def test_what_is_older_than_it_takes_is_rejected_by_its_name_and_the_rest_is_stored(
    prometheus: Prometheus, opened: Opened, job: str
) -> None:
    one, time_ms = opened(write_url(prometheus)), now_ms()
    assert one.write(*ticks(time_ms, 1)) == []  # so that it knows what is new
    old = tick(
        guest_record("old", uuid="old", time_ms=time_ms - 300 * MINUTE_MS),
        time_ms=time_ms - 300 * MINUTE_MS,
        collect="other",
    )
    ((record, reason), *rest) = one.write(old, *ticks(time_ms + 1000, 1))
    assert len(rest) == 1, "the agent's"
    assert record is old.records[0]
    assert reason.startswith("out of bounds (")
    assert cpu_times(prometheus, job)["u0"] == [0, 0]


def test_a_clock_that_is_set_back_loses_what_is_late_by_name(prometheus: Prometheus, opened: Opened, job: str) -> None:
    one, time_ms = opened(write_url(prometheus)), now_ms()
    one.write(*ticks(time_ms, 1))
    rejected = one.write(*ticks(time_ms - 10 * MINUTE_MS, 2))
    assert len(rejected) == 8
    assert {reason.partition(" (")[0] for _, reason in rejected} == {"out of order sample"}
    assert one.write(*ticks(time_ms + 10, 1)) == []


def test_prometheus_as_the_documentation_has_it_takes_what_is_late_and_nothing_older_than_a_day(
    tmp_path: Path, opened: Opened, job: str
) -> None:
    needed("prometheus")
    page = Path(__file__).parents[2] / "docs" / "sinks" / "remote_write.md"
    (config,) = re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    with receiving(tmp_path / "prometheus", config=config) as server:
        one, time_ms = opened(write_url(server)), now_ms()
        for minutes in (0, 10, 5 * 60):
            assert one.write(*ticks(time_ms - minutes * MINUTE_MS, 2)) == []
        assert one.parts == []
        assert cpu_times(server, job)["u0"] == [0, 1] * 3
        rejected = one.write(*ticks(time_ms - 25 * 60 * MINUTE_MS, 1))
        assert len(rejected) == 4
        assert {reason.partition(" (")[0] for _, reason in rejected} == {"too old sample"}


def test_prometheus_that_is_not_told_to_receive_is_waited_for(tmp_path: Path, opened: Opened) -> None:
    needed("prometheus")
    with Prometheus(tmp_path / "prometheus") as server, pytest.raises(Retry, match="receiver needs to be enabled"):
        opened(write_url(server)).write()


def test_prometheus_that_was_killed_has_the_whole_backlog_when_it_is_back(
    tmp_path: Path, opened: Opened, job: str
) -> None:
    batches = ticks(now_ms() - MINUTE_MS, 8)
    needed("prometheus")
    with receiving(tmp_path / "prometheus") as server:
        one = opened(write_url(server))
        one.write(*batches[:2])
        server.kill()
        for _ in range(2):
            with pytest.raises(Retry):
                one.write(*batches[1:5])
        server.start()
        assert one.write(*batches[1:5]) == []
        server.hang()
        hasty = opened(write_url(server), timeout=0.3)
        with pytest.raises(Retry, match="no whole answer"):
            hasty.write(*batches[5:])
        server.resume()
        assert one.write(*batches[5:]) == []
        assert cpu_times(server, job)["u0"] == [0, 1, 2, 3, 4, 5, 6, 7]


def just_now_ms() -> int:
    """Long enough ago for VictoriaMetrics' export, which ends with the last whole second."""
    return now_ms() - 5000


def in_victoria(server: VictoriaMetrics) -> dict[Labels, list[tuple[int, float]]]:
    return {
        key_of(series["metric"]): list(zip(series["timestamps"], series["values"], strict=True))
        for series in server.export()
        if series["metric"]["__name__"].startswith("domstat_")
    }


def test_victoriametrics_has_every_sample(victoria: VictoriaMetrics, opened: Opened, job: str) -> None:
    batches = everything(just_now_ms())
    assert opened(write_url(victoria)).write(*batches) == []
    wanted = {sample.labels: sample for sample in encoded(job, *batches)}
    stored = in_victoria(victoria)
    assert stored.keys() == wanted.keys()
    for labels, sample in wanted.items():
        ((time_ms, value),) = stored[labels]
        assert time_ms == sample.time_ms
        assert value == pytest.approx(sample.value, rel=1e-12), "it keeps floats of fewer digits than ours"


def test_victoriametrics_takes_any_time_and_has_a_guests_end(victoria: VictoriaMetrics, opened: Opened) -> None:
    one, time_ms = opened(write_url(victoria)), just_now_ms()
    assert one.write(*ticks(time_ms, 1)) == []
    assert one.write(*ticks(time_ms - 24 * 60 * MINUTE_MS, 1)) == []
    assert one.write(*ticks(time_ms + 2000, 1, guests=1)) == []
    victoria.request("/internal/force_flush")
    shown = victoria.ask("/api/v1/query", query=CPU, time=str(time_ms / 1000 + 3))["data"]["result"]
    assert {series["metric"]["uuid"] for series in shown} == {"u0"}


def test_a_limit_on_requests_makes_them_smaller(opened: Opened, tmp_path: Path, victoria: VictoriaMetrics) -> None:
    with VictoriaMetrics(tmp_path / "small", arguments=["-maxInsertRequestSize=20KB"]) as server:
        time_ms = just_now_ms()
        guests = [guest_record(f"g{i}", uuid=f"u{i}", time_ms=time_ms) for i in range(20)]
        one = opened(write_url(server))
        assert one.write(tick(*guests, time_ms=time_ms)) == []
        assert one.parts == []
        assert one.log.events() == []
        assert isinstance(one.sink, RemoteWriteSink)
        assert one.sink._bytes_max < requests.BODY_BYTES_MAX
        stored = {dict(labels).get("uuid") for labels in in_victoria(server)}
        assert stored >= {f"u{i}" for i in range(20)}


def test_vmagent_writes_on(victoria: VictoriaMetrics, opened: Opened, tmp_path: Path, job: str) -> None:
    batches = ticks(just_now_ms(), 2)
    with Vmagent(tmp_path / "agent", write_url(victoria)) as agent:
        assert opened(write_url(agent)).write(*batches) == []
        wanted = {sample.labels for sample in encoded(job, *batches)}
        processes.wait_until(
            lambda: in_victoria(victoria).keys() == wanted, timeout_s=60, otherwise="not all was written on"
        )
