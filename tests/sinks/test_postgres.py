"""The postgres sink before it meets a server: what it says at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from domstat.sink import Fatal, Retry
from domstat_sinks.postgres import PostgresSink, sink
from domstat_sinks.postgres.settings import PostgresSettings
from records import batch
from told import Told


def told(folder: Path, **settings: Any) -> Told:
    return Told(PostgresSink(PostgresSettings(**settings)), folder)


def test_without_psycopg_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink, "find_spec", lambda _name: None)
    with pytest.raises(Fatal, match=r"pip install 'domstat\[postgres\]'"):
        told(tmp_path).open()


def test_a_password_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("geheim")
    path.chmod(0o644)
    with pytest.raises(Fatal, match="chmod 0600") as caught:
        told(tmp_path, password_file=str(path)).open()
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("dsn", ["geheim", "host='geheim", "nonsense=geheim", "postgresql://[geheim"])
def test_a_dsn_that_is_none_is_refused_and_not_shown(tmp_path: Path, dsn: str) -> None:
    with pytest.raises(Fatal, match="dsn is none that libpq understands") as caught:
        told(tmp_path, dsn=dsn).open()
    assert "geheim" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_password_to_elsewhere_without_tls_is_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.touch(mode=0o600)
    path.write_text("geheim")
    one = told(tmp_path, host="256.256.256.256", password_file=str(path))
    with pytest.raises(Retry):
        one.open()
    assert one.log.events("warning") == ["password_unencrypted"]


def test_a_sink_that_was_never_opened_writes_nothing_and_closes(tmp_path: Path) -> None:
    one = told(tmp_path)
    with pytest.raises(Retry, match="not open"):
        one.sink.write([batch()])
    one.sink.close()
