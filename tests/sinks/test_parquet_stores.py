"""Folders and object stores: a file is there whole or not at all, and errors are of one kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from domstat_sinks.parquet.stores import Folder, Objects, Store, TakenError
from parquet_folder import empty_memory


@pytest.fixture(params=["folder", "objects"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    empty_memory()
    if request.param == "folder":
        made: Store = Folder(tmp_path / "root")
    else:
        made = Objects("memory://root", {}, tmp_path / "identity")
    yield made
    made.close()
    empty_memory()


def put(store: Store, name: str, data: bytes) -> None:
    with store.making(name) as file:
        file.write(data)


def test_what_is_put_is_there_by_its_name(store: Store) -> None:
    put(store, "a/b=%2F/c", b"1")
    put(store, "a/d", b"2")
    assert sorted(store.names("a")) == ["b=%2F/c", "d"]
    assert store.folders("a") == ["b=%2F"]
    assert store.has("a/d")
    assert not store.has("a/e")
    assert list(store.contents(["a/d", "a/b=%2F/c"])) == [b"2", b"1"]
    with store.reading("a/d") as file:
        assert file.read() == b"2"


def test_what_is_put_again_takes_the_place_of_what_was_there(store: Store) -> None:
    put(store, "a", b"long before")
    put(store, "a", b"now")
    assert list(store.contents(["a"])) == [b"now"]


def test_what_fails_half_way_leaves_what_was_there(store: Store) -> None:
    put(store, "a", b"before")

    def fails() -> None:
        with store.making("a") as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert list(store.contents(["a"])) == [b"before"]


def test_nothing_is_to_be_found_before_it_is_whole(store: Store) -> None:
    with store.making("a/b") as file:
        file.write(b"half")
        file.flush()
        assert store.names("a") == []


def test_many_small_files_are_read_in_their_order(store: Store) -> None:
    names = [f"a/{number}" for number in range(70)]
    for name in names:
        put(store, name, name.encode())
    assert list(store.contents(names[::-1])) == [name.encode() for name in names[::-1]]


def test_what_is_removed_or_set_aside_is_not_found(store: Store) -> None:
    for name in "abc":
        put(store, f"x/{name}", b"")
    store.remove(["x/a", "x/gone"])
    store.set_aside("x/b")
    assert sorted(store.names("x")) == ["b.damaged", "c"]
    store.remove_empty("x")
    assert store.has("x/c")


def test_where_there_is_nothing_nothing_is_found(store: Store) -> None:
    assert store.names("nowhere") == []
    assert not store.has("nowhere/a")
    with pytest.raises(FileNotFoundError):
        list(store.contents(["nowhere/a"]))


@pytest.mark.parametrize("action", ["names", "has", "making", "contents", "remove", "reading"])
def test_whatever_an_object_stores_library_raises_is_an_error_of_one_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    class StrangersError(ValueError):
        pass

    def fails(*_: object, **__: object) -> None:
        raise StrangersError("\x1b[31mno route")

    store = Objects("memory://root", {}, tmp_path / "identity")
    for name in ("find", "exists", "put_file", "cat", "rm_file", "open"):
        monkeypatch.setattr(store._fs, name, fails)
    actions: dict[str, Callable[[], object]] = {
        "names": lambda: store.names("a"),
        "has": lambda: store.has("a"),
        "making": lambda: put(store, "a", b""),
        "contents": lambda: list(store.contents(["a"])),
        "remove": lambda: store.remove(["a"]),
        "reading": lambda: store.reading("a").__enter__(),
    }
    with pytest.raises(OSError, match=r"\\x1b\[31mno route"):
        actions[action]()
    store.close()


def test_an_agent_is_known_by_the_same_name_for_ever(tmp_path: Path) -> None:
    names = set()
    for _ in range(3):
        store = Objects("memory://root", {}, tmp_path / "identity")
        names.add(store.writer)
        store.close()
    assert len(names) == 1
    (tmp_path / "identity").write_bytes(b"\xff damaged")
    store = Objects("memory://root", {}, tmp_path / "identity")
    assert store.writer not in names
    assert store.writer == (tmp_path / "identity").read_text()
    store.close()


def test_a_folder_has_one_writer(tmp_path: Path) -> None:
    store = Folder(tmp_path)
    with pytest.raises(TakenError):
        Folder(tmp_path)
    store.close()
    Folder(tmp_path).close()


def test_what_a_killed_agent_was_writing_goes(tmp_path: Path) -> None:
    store = Folder(tmp_path)
    put(store, ".domstat/waiting/a", b"")
    (tmp_path / ".domstat/waiting/.b.new").write_bytes(b"half")
    store.close()
    Folder(tmp_path).close()
    assert [path.name for path in (tmp_path / ".domstat/waiting").iterdir()] == ["a"]
