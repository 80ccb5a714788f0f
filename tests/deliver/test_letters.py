"""Dead letters: JSON lines with the reason, for their owner alone, and bounded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from domstat import jsonlines
from domstat.deliver.letters import FOLDER, DeadLetters
from records import guest_record


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_letter_is_the_record_and_the_reason(tmp_path: Path) -> None:
    record = guest_record("a\nb")
    letters = DeadLetters(tmp_path, "influx")
    letters.add([(record, 'too "hot"\n'), (guest_record("c"), "no")])
    first, second = lines(letters.path)
    assert (first["reason"], second["reason"]) == ('too "hot"\n', "no")
    assert jsonlines.decode(json.dumps(first["record"])).domain == record.domain
    assert letters.path.stat().st_mode & 0o777 == 0o600
    assert letters.path.parent.stat().st_mode & 0o777 == 0o700


def test_no_letter_makes_no_file(tmp_path: Path) -> None:
    DeadLetters(tmp_path, "influx").add([])
    assert not (tmp_path / FOLDER).exists()


@pytest.mark.parametrize("name", ["../evil", "a/b", "..", "x" * 100])
def test_a_sinks_name_leads_to_no_other_folder(tmp_path: Path, name: str) -> None:
    letters = DeadLetters(tmp_path, name)
    letters.add([(guest_record(), "no")])
    assert letters.path.resolve().parent == tmp_path / FOLDER


def test_two_files_are_kept_and_no_more(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path, "influx", bytes_max=30_000)
    for i in range(40):
        letters.add([(guest_record(str(i)), str(i))])
    files = sorted((tmp_path / FOLDER).iterdir())
    assert [file.name for file in files] == ["influx.jsonl", "influx.jsonl.1"]
    assert sum(file.stat().st_size for file in files) <= 60_000
    newest = [line["reason"] for file in reversed(files) for line in lines(file)]
    assert newest == [str(i) for i in range(40 - len(newest), 40)]


def test_a_link_in_the_files_place_is_not_followed(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path, "influx")
    letters.path.parent.mkdir()
    letters.path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        letters.add([(guest_record(), "no")])
    assert not (tmp_path / "elsewhere").exists()
