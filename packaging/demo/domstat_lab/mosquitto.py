"""The MQTT broker mosquitto, started for a test on loopback as the stores of :mod:`domstat_lab.servers` are."""

import os
import socket
import sysconfig
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from domstat_lab.errors import LabError
from domstat_lab.servers import LOG_TAIL, UNPACKED, Server, program

BROKER = "mosquitto"
LIBRARIES = UNPACKED / "usr" / "lib" / str(sysconfig.get_config_var("MULTIARCH"))
"""Those that were unpacked beside the broker (libdlt2, libwrap0): all else it needs is on a bare Debian."""

ANSWER_TIMEOUT_S = 1.0
"""Seconds of one look whether it answers; it is looked at again and again."""

READ_TIMEOUT_S = 60.0
"""Seconds a reader waits for the broker: milliseconds on an idle machine."""

_CONNECT = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00"
_CONNACK = b"\x20\x02\x00"
"""A client without a name or a password, and how an answer to it begins, whether or not it is let in."""

_CONF = """\
listener {port} 127.0.0.1
persistence true
persistence_location {folder}/
# A reader that is away, or slow, misses nothing.
max_inflight_messages 0
max_queued_messages 0
log_type all
"""


class Mosquitto(Server):
    """A broker that keeps what clients with a persistent session have not had: over a gentle stop, not over a kill.

    It lets everybody in, unless *conf* says otherwise: lines of mosquitto.conf that are added to its own.
    """

    name = "env"
    """Which gives the broker the libraries beside it."""

    def __init__(self, folder: Path, *, conf: str = "allow_anonymous true", arguments: Sequence[str] = ()) -> None:
        """Prepare; nothing runs yet."""
        super().__init__(folder, arguments=arguments)
        self._conf = conf

    @property
    def url(self) -> str:
        """Where it answers, as clients of MQTT write it."""
        return f"mqtt://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        """Write the configuration, and name the program with its libraries."""
        path = self.folder / "mosquitto.conf"
        user = "user root\n" if os.geteuid() == 0 else ""  # which would become nobody else, and has no way here
        path.write_text(_CONF.format(port=self.port, folder=self.folder) + user + self._conf + "\n")
        return [f"LD_LIBRARY_PATH={LIBRARIES}", str(program(BROKER)), "-c", str(path)]

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise LabError(f"{BROKER} ended while starting: {self.log[-LOG_TAIL:]}")
        try:
            with socket.create_connection(("127.0.0.1", self.port), ANSWER_TIMEOUT_S) as asked:
                asked.sendall(_CONNECT)
                return asked.recv(len(_CONNACK)) == _CONNACK
        except OSError:
            return False


class Reader:
    """Who reads along: everything that was published below *topics*, also while the reader or the broker was away.

    The broker keeps what it has not had (QoS 1, a persistent session), though over a kill not even the session. Like
    any reader it may get a message twice.
    """

    def __init__(self, broker: Mosquitto, topics: str, *, user: str | None = None, password: str | None = None) -> None:
        """Subscribe to *topics* (``name/#``); what is published from now on is had by :meth:`messages`."""
        self._broker = broker
        self._marker = f"read/{uuid.uuid4()}"
        self._topics = [(topic, SubscribeOptions(qos=1)) for topic in (topics, self._marker)]
        self._marks = 0
        self._mark_heard = b""
        self._found: list[tuple[str, bytes]] = []
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._marker,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
        )
        self._client.on_message = self._hear
        self._client.username_pw_set(user, password)
        self._connect()

    def messages(self) -> list[tuple[str, bytes]]:
        """Return topic and payload of every message so far, in the order in which they came."""
        if not self._is_up_to_date():
            self._connect()
        return list(self._found)

    def close(self) -> None:
        """Leave; the broker keeps what comes."""
        self._client.disconnect()

    def _connect(self) -> None:
        forever = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        forever.SessionExpiryInterval = 0xFFFF_FFFF
        self._client.connect("127.0.0.1", self._broker.port, keepalive=0, clean_start=False, properties=forever)
        if self._comes(self._client.is_connected):
            self._client.subscribe(self._topics)
            if self._is_up_to_date():
                return
        raise LabError(f"{BROKER} does not let the reader in")

    def _is_up_to_date(self) -> bool:
        """Publish a mark and wait for it: what was published before comes before it. False: there is no connection."""
        self._marks += 1
        mark = b"%d" % self._marks
        self._client.publish(self._marker, mark, qos=1)
        return self._comes(lambda: self._mark_heard == mark)

    def _hear(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        if message.topic == self._marker:
            self._mark_heard = bytes(message.payload)
        else:
            self._found.append((message.topic, bytes(message.payload)))

    def _comes(self, holds: Callable[[], bool]) -> bool:
        """Send and receive until that holds, or there is no connection any more."""
        deadline = time.monotonic() + READ_TIMEOUT_S
        while not holds():
            if self._client.loop():
                return False
            if time.monotonic() > deadline:
                raise LabError(f"{BROKER} did not answer the reader within {READ_TIMEOUT_S:g} s")
        return True
