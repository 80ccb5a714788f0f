"""Whether the sink keeps a sink's promises, with a real broker: domstat's own suite, and what only MQTT can say.

The broker is Debian's mosquitto, started by the lab in domstat's repository (packaging/demo/domstat_lab).
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from domstat import settings
from domstat.model import Batch, Record
from domstat.sink import Reject, Retry, SinkContext
from domstat.testing import Keeps, SinkContract, Stored, subject
from domstat.testing.records import agent, batch, event, guest, hypervisor, pool, ticks
from domstat_lab.errors import LabError
from domstat_lab.mosquitto import BROKER, Mosquitto, Reader
from domstat_lab.servers import program
from domstat_mqtt import MqttSettings, MqttSink

TIMEOUT = "2s"
"""Of a broker that hangs, which is waited for; everything else on loopback takes milliseconds."""


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """One broker for all tests; each has topics of its own."""
    try:
        program(BROKER)
    except LabError as error:
        pytest.skip(str(error))
    with Mosquitto(tmp_path_factory.mktemp("broker")) as started:
        yield started


_numbers = itertools.count()


class Store:
    """What somebody who reads along has of everything that was published."""

    sink = MqttSink

    def __init__(self, broker: Mosquitto, **more: Any) -> None:
        self.broker = broker
        self.prefix = f"test/{next(_numbers)}"
        self.settings: Mapping[str, Any] = {"url": broker.url, "prefix": self.prefix, "timeout": TIMEOUT, **more}
        self.reader = Reader(broker, f"{self.prefix}/#")

    def read(self) -> list[Stored]:
        """Give every message there was, in the order of their coming."""
        return [_stored(json.loads(payload)) for _, payload in self.reader.messages()]

    def topics(self) -> list[str]:
        """Give the topics of all messages, without what all begin with."""
        return [topic.removeprefix(f"{self.prefix}/") for topic, _ in self.reader.messages()]

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Have the broker ended."""
        self.broker.stop()
        try:
            yield
        finally:
            self.broker.start()

    @contextmanager
    def slow(self) -> Iterator[None]:
        """Have the broker answer nothing."""
        self.broker.hang()
        try:
            yield
        finally:
            self.broker.resume()

    def hopeless(self) -> Mapping[str, Any]:
        """Name a file that is not there."""
        return {**self.settings, "password_file": "/nowhere/password"}


def _stored(said: dict[str, Any]) -> Stored:
    """Tell what a record is about from what it says."""
    about = subject(said.pop("uuid", None), said.pop("pool", None), said.get("event.type"), said.get("event.device"))
    name = said.pop("domain", None)
    of = {key: said.pop(key) for key in ("host", "collect", "kind", "time_ms")}
    said.pop("interval_s", None)
    return Stored(subject=about, name=name, values=said, **of)


@pytest.fixture
def store(broker: Mosquitto) -> Iterator[Store]:
    """A store that nobody has published to."""
    made = Store(broker)
    with closing(made.reader):
        yield made


def opened(store: Store, **more: Any) -> MqttSink:
    """Open a sink with the store's settings and *more*."""
    sink = MqttSink(settings.decode({**store.settings, **more}, MqttSettings))
    sink.open(SinkContext("mqtt", Path(), None, lambda _record, _reason: None))
    return sink


def times(store: Store) -> list[int | None]:
    """Give the ticks that were read, each once, in the order in which they first came."""
    return list(dict.fromkeys(stored.time_ms for stored in store.read()))


def times_of(written: list[Batch]) -> list[int]:
    return [one.stamp.time_ms for one in written]


class TestMqttSink(SinkContract):
    """All of a sink's promises, each a test of its own."""

    keeps = Keeps(again=True)

    @pytest.fixture
    def store(self, store: Store) -> Store:
        """Take the broker's."""
        return store


def test_a_topic_is_what_the_record_is_about(store: Store) -> None:
    sink = opened(store)
    web = guest(1)
    assert web.domain is not None
    uuid = web.domain.uuid
    sink.write([batch(web, hypervisor(), pool("images"), event("started", device=None), agent())])
    sink.close()
    assert store.topics()[:4] == [
        f"kvm1/default/guest/{uuid}",
        "kvm1/default/host/",
        f"kvm1/{pool('images').collect}/pool/images",
        f"kvm1/{event().collect}/event/{event('started', device=None).subject.replace('/', '%2F')}",
    ]


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("a+b", "a%2Bb"),
        ("#", "%23"),
        ("a/b", "a%2Fb"),
        ("$SYS", "%24SYS"),
        ("a\x00b", "a%00b"),
        ("", ""),
        ("ä%", "%C3%A4%25"),
        ("\u202e", "%E2%80%AE"),
    ],
)
def test_what_means_something_in_a_topic_is_quoted_and_the_record_says_it_as_it_is(
    store: Store, name: str, level: str
) -> None:
    sink = opened(store)
    sink.write([batch(pool(name, collect="x"))])
    sink.close()
    assert store.topics() == [f"kvm1/x/pool/{level}"]
    assert json.loads(store.reader.messages()[0][1])["pool"] == name


def test_a_record_whose_topic_is_too_long_is_rejected_and_the_others_are_published(store: Store) -> None:
    sink = opened(store)
    fits = pool("x" * (65_535 - len(f"{store.prefix}/kvm1/x/pool/")), collect="x")
    too_long = pool("y" + fits.subject, collect="x")
    with pytest.raises(Reject) as caught:
        sink.write([batch(too_long, fits), batch(pool("z", collect="x"))])
    sink.close()
    assert [(item.record, item.reason) for item in caught.value.items] == [(too_long, "Publish topic is too long.")]
    assert store.topics() == [f"kvm1/x/pool/{fits.subject}", "kvm1/x/pool/z"]


@pytest.mark.parametrize(("retain", "found"), [(True, [2]), (False, [])])
def test_the_newest_record_of_a_topic_is_kept_if_that_is_wanted(store: Store, retain: bool, found: list[int]) -> None:
    sink = opened(store, retain=retain)
    sink.write([batch(_with(1)), batch(_with(2))])
    sink.close()
    with closing(Reader(store.broker, f"{store.prefix}/#")) as late:
        assert [json.loads(payload)["cpu.time"] for _, payload in late.messages()] == found


def _with(cpu_time: int) -> Record:
    return guest(1, params={"cpu.time": cpu_time})


def test_a_broker_that_is_killed_between_writes_is_met_again(store: Store) -> None:
    sink = opened(store)
    written = ticks(6)
    sink.write(written[:3])
    assert times(store) == times_of(written[:3])
    store.broker.kill()
    with pytest.raises(Retry):
        sink.write(written[3:])
    with pytest.raises(Retry, match="cannot be reached"):
        sink.write(written[3:])
    store.broker.start()
    store.read()  # a broker that was killed knows its readers no more: this one comes back before the sink
    sink.write(written[3:])
    sink.close()
    assert times(store) == times_of(written)


def test_what_a_broker_had_half_when_it_was_killed_is_published_again_in_order(store: Store) -> None:
    sink = opened(store, timeout="200ms")
    written = ticks(40)
    sink.write(written[:1])
    assert times(store) == times_of(written[:1])
    store.broker.hang()
    with pytest.raises(Retry, match="takes too long; 4 answers are missing"):
        sink.write(written[1:])
    store.broker.kill()
    store.broker.start()
    store.read()
    sink.write(written[1:])
    sink.close()
    assert times(store) == times_of(written)


def test_a_broker_that_is_stopped_keeps_what_a_reader_who_is_away_has_not_had(store: Store) -> None:
    sink = opened(store)
    written = ticks(6)
    store.reader.close()
    sink.write(written[:3])
    with store.outage(), pytest.raises(Retry):
        sink.write(written[3:])
    sink.write(written[3:])
    sink.close()
    assert times(store) == times_of(written)


def test_what_a_broker_that_hangs_had_half_is_published_again_in_order(store: Store) -> None:
    sink = opened(store, timeout="200ms")
    written = ticks(40)
    sink.write(written[:1])
    with store.slow(), pytest.raises(Retry, match="takes too long; 4 answers are missing"):
        sink.write(written[1:])
    sink.write(written[1:])
    sink.close()
    assert times(store) == times_of(written)


@contextmanager
def guarded(folder: Path) -> Iterator[Mosquitto]:
    """Start a broker that lets in the user ``domstat`` alone, who may publish below ``open/`` alone."""
    salt = b"twelve bytes"
    key = base64.b64encode(hashlib.pbkdf2_hmac("sha512", b"secret", salt, 101)).decode()
    (folder / "users").write_text(f"domstat:$7$101${base64.b64encode(salt).decode()}${key}\n")
    (folder / "rights").write_text("user domstat\ntopic readwrite open/#\ntopic readwrite read/#\n")
    (folder / "password").write_text("secret\n")
    (folder / "wrong").write_text("guessed\n")
    conf = f"allow_anonymous false\npassword_file {folder / 'users'}\nacl_file {folder / 'rights'}"
    with Mosquitto(folder / "broker", conf=conf) as started:
        yield started


def test_a_user_shows_the_password_in_a_file_and_what_is_refused_is_said_and_kept(
    broker: Mosquitto, tmp_path: Path
) -> None:
    def sink(*, password: str = "password", prefix: str = "open") -> MqttSink:
        url = f"mqtt://domstat@127.0.0.1:{guard.port}"
        return MqttSink(MqttSettings(url=url, password_file=str(tmp_path / password), prefix=prefix))

    context = SinkContext("mqtt", tmp_path, None, lambda _record, _reason: None)
    with guarded(tmp_path) as guard:
        with closing(Reader(guard, "open/#", user="domstat", password="secret")) as reader:
            let_in = sink()
            let_in.open(context)
            let_in.write([batch(guest(1))])
            let_in.close()
            assert len(reader.messages()) == 1
        with pytest.raises(Retry, match="the broker says: Not authorized"):
            sink(password="wrong").open(context)
        elsewhere = sink(prefix="closed")
        elsewhere.open(context)
        with pytest.raises(Retry, match="the broker says: Not authorized"):
            elsewhere.write([batch(guest(1))])


@pytest.mark.parametrize(
    "url", ["localhost", "http://localhost", "mqtt://", "mqtt://a:secret@localhost", "mqtt://localhost/topic"]
)
def test_a_url_that_is_no_brokers_is_refused(url: str) -> None:
    with pytest.raises(settings.SettingsError, match="url: found"):
        settings.decode({"url": url}, MqttSettings)


@pytest.mark.parametrize("prefix", ["", "a+b", "#", "$SYS", "a\x00"])
def test_a_prefix_that_is_no_topic_is_refused(prefix: str) -> None:
    with pytest.raises(settings.SettingsError, match="prefix: found"):
        settings.decode({"url": "mqtt://localhost", "prefix": prefix}, MqttSettings)
