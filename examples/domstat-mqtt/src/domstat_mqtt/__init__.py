"""A sink for domstat that publishes every record to an MQTT broker."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

from msgspec import Meta, Struct
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from domstat.forms import flat
from domstat.model import Batch, Record
from domstat.settings import Duration
from domstat.sink import Fatal, Reject, Retry, SinkContext


class MqttSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Publishes every record as JSON to an MQTT 5 broker."""

    url: Annotated[str, Meta(pattern="^mqtts?://([^:@/]+@)?[^@/]+$", description="As mqtts://USER@HOST:PORT.")]
    password_file: Annotated[str | None, Meta(description="File with the user's password. Default: none.")] = None
    ca_file: Annotated[str | None, Meta(description="Who may sign for mqtts (PEM). Default: the system's.")] = None
    prefix: Annotated[str, Meta(pattern=r"^[^$+#\x00-\x1f]+$", description="What topics begin with.")] = "domstat"
    retain: Annotated[bool, Meta(description="Whether each topic's newest record is kept for who comes.")] = False
    timeout: Annotated[Duration, Meta(description="How long the broker may take for one tick.")] = Duration(30)


class MqttSink:
    """Publishes to ``PREFIX/HOST/COLLECT/KIND/SUBJECT`` with QoS 1; a write is done when all is acknowledged.

    It has no thread and no queue of its own, nor uses the client's: a connection that fails in any way is thrown away
    with what was under way, since the agent brings the same records again.
    """

    Settings = MqttSettings

    def __init__(self, settings: MqttSettings) -> None:
        self._settings = settings
        self._client: Client | None = None

    def open(self, context: SinkContext) -> None:
        """Connect. Raises Retry, or Fatal for a file that is not there."""
        self._client = self._connect()

    def write(self, batches: Sequence[Batch]) -> None:
        """Publish, tick by tick. Raises Retry, Fatal, or Reject for records that MQTT or JSON cannot carry."""
        client, self._client = self._client or self._connect(), None  # given back when all went well
        rejected: list[tuple[Batch, Record, str]] = []
        for batch in batches:
            for record in batch.records:
                key = (record.host, record.collect, record.kind, record.subject)
                topic = "/".join([self._settings.prefix, *(quote(part, safe="") for part in key)])
                try:
                    client.publish(topic, json.dumps(flat(record), allow_nan=False), 1, self._settings.retain)
                    self._awaited += 1
                except ValueError as error:  # a number that is none; a topic of more than 65,535 bytes
                    rejected.append((batch, record, str(error)))
            self._work(client)
        self._client = client
        if rejected:
            raise Reject(rejected)

    def close(self) -> None:
        """Say goodbye."""
        if self._client is not None:
            self._client.disconnect()
            self._client = None

    def _connect(self) -> Client:
        url, settings = urlsplit(self._settings.url), self._settings
        client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5, reconnect_on_failure=False)
        client.max_inflight_messages_set(10)  # no broker takes fewer: more than it says would end the connection
        client.on_connect = client.on_publish = self._answered
        try:
            password = settings.password_file and Path(settings.password_file).read_text().strip()
            client.username_pw_set(url.username, password)
            if url.scheme == "mqtts":
                client.tls_set(settings.ca_file)
            client.connect(url.hostname or "", url.port or (8883 if url.scheme == "mqtts" else 1883), keepalive=0)
        except OSError as error:
            no_retry_helps = isinstance(error, FileNotFoundError)
            raise (Fatal if no_retry_helps else Retry)(f"{settings.url} cannot be reached: {error}") from error
        self._awaited = 1
        self._work(client)
        return client

    def _answered(self, _client: Any, _data: Any, _what: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            raise Retry(f"the broker says: {reason}")
        self._awaited -= 1

    def _work(self, client: Client) -> None:
        """Send and receive until everything is acknowledged."""
        deadline = time.monotonic() + self._settings.timeout
        while self._awaited:
            if client.loop() or time.monotonic() > deadline:
                raise Retry(f"the broker has gone, or takes too long; {self._awaited} answers are missing")
