"""The sinks' contract: how they are found and what they may raise."""

from __future__ import annotations

import sys
import types
from importlib.metadata import EntryPoint, distributions
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from domstat.config import SinkCommon
from domstat.sink import (
    COMMON_SETTINGS,
    ENTRY_POINT_GROUP,
    BrokenSinkError,
    ClaimsFiles,
    Fatal,
    Finished,
    Reject,
    Retry,
    Sink,
    SinkError,
    UnknownSinkError,
    find_all_sinks,
    find_sinks,
    is_shipped,
    load_sink,
)
from records import batch, guest_record
from strangers import lay


class Good:
    class Settings(Struct):
        pass

    def __init__(self, settings: Any) -> None: ...
    def open(self, context: Any) -> None: ...
    def write(self, batches: Any) -> None: ...
    def close(self) -> None: ...


class Claiming(Good):
    @staticmethod
    def claims(settings: Any, state_dir: Path) -> list[Path]:
        return [state_dir / "x"]


class Lacking:
    def open(self, context: Any) -> None: ...


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = types.ModuleType("strangers_sinks")
    module.Good, module.Lacking = Good, Lacking
    monkeypatch.setitem(sys.modules, "strangers_sinks", module)
    points = [
        EntryPoint(name, value, ENTRY_POINT_GROUP)
        for name, value in (
            ("good", "strangers_sinks:Good"),
            ("lacking", "strangers_sinks:Lacking"),
            ("gone", "strangers_sinks:Gone"),
            ("broken", "no_such_module_anywhere:Sink"),
        )
    ]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points if group == ENTRY_POINT_GROUP else [])


def test_anyones_sink_is_found_by_its_entry_point() -> None:
    assert list(find_sinks()) == ["good", "lacking", "gone", "broken"]
    loaded: object = load_sink("good")
    assert loaded is Good


def test_a_sink_needs_no_base_class() -> None:
    assert isinstance(Good(None), Sink)
    assert not isinstance(Lacking(), Sink)


def test_a_class_that_claims_files_is_told_from_one_that_does_not() -> None:
    assert isinstance(Claiming, ClaimsFiles)
    assert not isinstance(Good, ClaimsFiles)


def test_an_unknown_type_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(UnknownSinkError, match=r'did you mean "good"\?') as caught:
        load_sink("goood")
    assert "broken, gone, good, lacking" in str(caught.value)


def test_without_any_sink_installed_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [])
    with pytest.raises(UnknownSinkError, match="none"):
        load_sink("good")


@pytest.mark.parametrize(
    ("name", "why"),
    [("lacking", "lacks Settings, write, close"), ("gone", "AttributeError"), ("broken", "no_such_module_anywhere")],
)
def test_a_sink_that_does_not_load_says_why(name: str, why: str) -> None:
    with pytest.raises(BrokenSinkError, match=why):
        load_sink(name)


def lay_and_find(monkeypatch: pytest.MonkeyPatch, site: Path, *distributions_: str) -> None:
    """Have each of some distributions bring a sink "theirs", and nobody else any."""
    for name in distributions_:
        lay(site, {"theirs": "Sink"}, distribution=name)
    points = [point for each in distributions(path=[str(site)]) for point in each.entry_points]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points)
    monkeypatch.syspath_prepend(str(site))


@pytest.mark.parametrize("whose", [("domstat", "aaa", "zzz"), ("zzz", "domstat", "aaa")])
def test_a_name_that_ships_is_nobody_elses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, whose: tuple[str, ...]
) -> None:
    lay_and_find(monkeypatch, tmp_path, *whose)
    assert is_shipped(find_sinks()["theirs"])
    assert [is_shipped(point) for point in find_all_sinks()["theirs"]] == [True, False, False]
    assert load_sink("theirs").__module__ == "domstat_module"


def test_of_two_strangers_with_one_name_none_is_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lay_and_find(monkeypatch, tmp_path, "aaa", "zzz")
    assert list(find_sinks()) == ["theirs"]
    with pytest.raises(
        BrokenSinkError, match=r'several sinks "theirs" \(of (aaa, zzz|zzz, aaa)\); uninstall all but one'
    ):
        load_sink("theirs")


def test_a_sink_that_others_could_change_is_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lay_and_find(monkeypatch, tmp_path, "open")
    (tmp_path / "open_module.py").write_text("raise SystemExit('it ran')")
    tmp_path.chmod(0o777)
    with pytest.raises(BrokenSinkError, match=r"others could change it: everybody may write .*; chown .* chmod go-w"):
        load_sink("theirs")
    tmp_path.chmod(0o755)
    with pytest.raises(BrokenSinkError, match="it ran"):
        load_sink("theirs")


def test_a_module_that_others_could_change_is_not_run_wherever_it_says_it_was_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lay_and_find(monkeypatch, tmp_path / "site", "elsewhere")
    source = tmp_path / "source"
    source.mkdir()
    (tmp_path / "site" / "elsewhere_module.py").rename(source / "elsewhere_module.py")
    monkeypatch.syspath_prepend(str(source))
    (source / "elsewhere_module.py").chmod(0o666)
    with pytest.raises(BrokenSinkError, match=r"everybody may write .*elsewhere_module\.py"):
        load_sink("theirs")


def test_whoever_calls_itself_domstat_is_looked_at_like_anybody(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lay_and_find(monkeypatch, tmp_path, "domstat")
    tmp_path.chmod(0o777)
    with pytest.raises(BrokenSinkError, match="everybody may write"):
        load_sink("theirs")


def test_a_sink_of_the_current_directory_is_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lay_and_find(monkeypatch, tmp_path, "local")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BrokenSinkError, match="it lies in the current directory; install it"):
        load_sink("theirs")


@pytest.mark.parametrize("code", ["sys.exit(1)", "raise RuntimeError('two\\nlines')"])
def test_whatever_a_module_does_while_it_is_imported_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    lay(tmp_path, {}, code, distribution="rude")
    points = [EntryPoint("rude", "rude_module:Sink", ENTRY_POINT_GROUP)]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points)
    with pytest.raises(BrokenSinkError, match="cannot be loaded") as caught:
        load_sink("rude")
    assert str(caught.value).isprintable()


def test_what_a_module_prints_while_it_is_imported_is_not_on_standard_output(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    lay(tmp_path, {}, "print('hello')", distribution="loud")
    points = [EntryPoint("loud", "loud_module:Sink", ENTRY_POINT_GROUP)]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points)
    load_sink("loud")
    assert capsys.readouterr() == ("", "hello\n")


def test_errors_tell_the_agent_what_to_do() -> None:
    assert all(issubclass(error, SinkError) for error in (Retry, Reject, Fatal, Finished))
    assert issubclass(Finished, Fatal)
    assert Retry("busy").after is None
    assert Retry("busy", after=3.5).after == 3.5


def test_a_rejection_names_its_records_and_the_first_reason() -> None:
    one, record = batch(), guest_record()
    error = Reject([(one, record, "too hot"), (one, record, "too cold")])
    assert [item.reason for item in error.items] == ["too hot", "too cold"]
    assert (error.items[0].batch, error.items[0].record) == (one, record)
    assert str(error) == "2 records rejected, the first because too hot"
    assert str(Reject([])) == "0 records rejected"


def test_a_sink_whose_settings_are_every_sinks_already_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Colliding(Good):
        class Settings(Struct):
            name: str = "mine"

    monkeypatch.setattr(sys.modules["strangers_sinks"], "Good", Colliding)
    with pytest.raises(BrokenSinkError, match="settings that every sink has already: name; rename them"):
        load_sink("good")


def test_the_agents_own_keys_are_those_of_the_configuration() -> None:
    assert set(SinkCommon.__struct_fields__) == COMMON_SETTINGS


def test_a_sink_that_does_not_load_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "faulty_sinks.py").write_text("x = 1\nraise RuntimeError('no')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(
        "importlib.metadata.entry_points", lambda group: [EntryPoint("faulty", "faulty_sinks:X", group)]
    )
    with pytest.raises(BrokenSinkError, match=r"RuntimeError\('no'\) \(.*faulty_sinks\.py, line 2\)"):
        load_sink("faulty")


def test_what_makes_no_sense_fails_in_the_sinks_own_call() -> None:
    with pytest.raises(ValueError, match="soon"):
        Retry("later", after="soon")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"is \(batch, record, reason\); found 'a'"):
        Reject(["a"])  # type: ignore[list-item]
