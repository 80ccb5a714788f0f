"""Servers that quote the request: the secret in it is hidden before anything of the answer is shown or cut."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from domstat_sinks.influxdb.settings import InfluxdbSettings
from domstat_sinks.sending.answers import WORDS_MAX, Answer, veiled, words_of
from domstat_sinks.sending.authorization import Authorization, read_authorization

SECRET = "me:s3cret-of-ours"


def authorization(folder: Path, way: str) -> Authorization:
    file = folder / "token"
    file.write_text(SECRET)
    file.chmod(0o600)
    found = read_authorization(InfluxdbSettings(token_file=str(file), authorization=way))  # type: ignore[arg-type]
    assert found is not None
    return found


@pytest.mark.parametrize("way", ["token", "bearer", "basic"])
def test_a_secret_is_hidden_in_every_form_and_in_every_part_of_an_answer(tmp_path: Path, way: str) -> None:
    sent = authorization(tmp_path, way)
    for quoted in (SECRET, "s3cret-of-ours", sent.value, base64.b64encode(SECRET.encode()).decode()):
        if way != "basic" and quoted not in sent.value:
            continue
        answer = Answer(400, {"x-error": f"a {quoted} b", "date": "now"}, f"c {quoted} d".encode(), f"e {quoted} f")
        hidden = veiled(answer, sent.secrets)
        assert "s3cret" not in repr(hidden)
        assert quoted not in repr(hidden)
        assert hidden.status == 400
        assert hidden.headers["date"] == "now"
        assert hidden.body.startswith(b"c ")
        assert hidden.reason.endswith(" f")


def test_a_secret_is_hidden_before_what_is_said_is_cut(tmp_path: Path) -> None:
    sent = authorization(tmp_path, "bearer")
    for before in range(WORDS_MAX):
        answer = Answer(500, {}, b"x" * before + SECRET.encode() + b"y" * WORDS_MAX)
        assert "s3c" not in words_of(veiled(answer, sent.secrets))


def test_an_answer_to_nobody_in_particular_is_left_as_it_is() -> None:
    answer = Answer(204, {"a": "b"}, b"c", "d")
    assert veiled(answer, ()) == answer


def test_what_is_sent_is_shown_in_no_form(tmp_path: Path) -> None:
    assert "s3cret" not in f"{authorization(tmp_path, 'token')!r} {authorization(tmp_path, 'token')}"
