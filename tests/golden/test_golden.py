"""Recorded answers and the records made of them.

Each ``NAME.answers.json`` is a list of raw answers in order: ``{"stamp": {"time_ms", "boot_ns", "boot_id",
"call_ns"}, "guests": [{"uuid", "name", "id", "params": {…}}], "xml": {uuid: text}}``; *xml* is the domain XML as it was
at that answer, *params* are libvirt's in libvirt's order, and ``"changed": [uuid]`` names the guests of which an event
came. ``NAME.records.jsonl`` is what becomes of them; ``pytest --update-golden`` writes it anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from answers import Guest, Told, answer
from domstat.collect import wire
from domstat.jsonlines import decode, encode
from domstat.model import Record, Stamp

HERE = Path(__file__).parent
RECORDED = sorted(HERE.glob("*.answers.json"))


def assemble(answers: list[dict[str, Any]]) -> list[Record]:
    """Feed answers through a stream as an agent would, over a hypervisor that only repeats them."""
    told = Told({})
    records: list[Record] = []
    for recorded in answers:
        told.hypervisor.xml |= recorded.get("xml", {})
        guests = [
            Guest(params=guest["params"], uuid=guest["uuid"], name=guest["name"], id=guest["id"])
            for guest in recorded["guests"]
        ]
        changes = [wire.Change("device", uuid, "") for uuid in recorded.get("changed", ())]
        told.hypervisor.answers.append(answer(Stamp(**recorded["stamp"]), *guests, changes=changes))
        records += told.stream.collect(float("inf")).records
    return records


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.name.partition(".")[0])
def test_recorded_answers_become_the_recorded_records(path: Path, update_golden: bool) -> None:
    expected = path.with_name(path.name.replace(".answers.json", ".records.jsonl"))
    written = encode(assemble(json.loads(path.read_text(encoding="utf-8"))))
    if update_golden:
        expected.write_bytes(written)
    assert written.decode().splitlines() == expected.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("path", sorted(HERE.glob("*.records.jsonl")), ids=lambda path: path.name.partition(".")[0])
def test_recorded_records_are_read_back(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    assert lines
    assert encode([decode(line) for line in lines]) == b"".join(lines)
    assert path.with_name(path.name.replace(".records.jsonl", ".answers.json")) in RECORDED
