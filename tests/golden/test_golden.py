"""Recorded answers and the records made of them.

Each ``NAME.answers.json`` is a list of raw answers in order: ``{"stamp": {"time_ms", "boot_ns", "boot_id",
"call_ns"}, "guests": [{"uuid", "name", "id", "params": {…}}], "xml": {uuid: text}}``; *xml* is the domain XML as it was
at that answer, and *params* are libvirt's in libvirt's order. ``"changed": [uuid]`` names the guests of which an event
came before it, ``"host": {…}`` is a sample of the host, and ``"spared": true`` says that the guests were asked only for
what needs no monitor. ``NAME.records.jsonl`` is what becomes of them; ``pytest --update-golden`` writes it anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from answers import Guest, Telling, answer
from domstat.collect import wire
from domstat.jsonlines import decode, encode
from domstat.model import Record, Stamp

HERE = Path(__file__).parent
RECORDED = sorted(HERE.glob("*.answers.json"))


def assemble(answers: list[dict[str, Any]]) -> list[Record]:
    """Feed answers through a stream as an agent would, over a hypervisor that only repeats them."""
    told = Telling({})
    records: list[Record] = []
    for recorded in answers:
        told.hypervisor.xml |= recorded.get("xml", {})
        guests = [
            Guest(params=guest["params"], uuid=guest["uuid"], name=guest["name"], id=guest["id"])
            for guest in recorded["guests"]
        ]
        told.happens(*[wire.Change("metadata", uuid, "", -1) for uuid in recorded.get("changed", ())])
        about = {name: recorded[name] for name in ("host", "spared") if name in recorded}
        (batch,) = told.tick(answer(Stamp(**recorded["stamp"]), *guests, **about))
        records += batch.records
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
