"""The polkit rule, run by the engine that polkitd runs it with: what it grants, to whom, and that it grants no more."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

RULES = Path(__file__).parents[2] / "packaging" / "polkit" / "60-domstat.rules"

LIBRARY = "libduktape.so.207"
"""Duktape, which Debian's polkitd is linked with: whoever has polkit has it."""

EVAL = 1 << 3 | 1 << 7 | 1 << 9 | 1 << 11
"""What duk_peval_lstring of duktape.h is, a macro: evaluate, catch errors; the source is no value on its stack, nor has
it a file's name."""

POLKIT = """
var rules = [];
var polkit = {
    Result: {YES: "yes", NO: "no", NOT_HANDLED: null},
    addRule: function (rule) { rules.push(rule); }
};
function granted(id, user, groups) {
    var subject = {
        user: user, groups: groups, local: true, active: true,
        isInGroup: function (name) { return groups.indexOf(name) >= 0; }
    };
    var action = {id: id, lookup: function (key) { return undefined; }};
    for (var i = 0; i < rules.length; i++) {
        var result = rules[i](action, subject);
        if (result) { return result; }
    }
    return "not handled";
}
"""
"""What polkitd has there when it reads a rule, as polkit(8) says."""

ALLOWED = {
    "org.libvirt.unix.monitor",
    *(f"org.libvirt.api.{thing}.{what}" for thing in ("connect", "domain", "storage-pool", "storage-vol")
      for what in ("getattr", "read")),
    "org.libvirt.api.connect.search-domains",
    "org.libvirt.api.connect.search-storage-pools",
}  # fmt: skip
"""What looks."""

OTHERS = {
    "org.libvirt.unix.manage",
    *(f"org.libvirt.api.domain.{what}" for what in (
        "start", "stop", "reset", "save", "write", "delete", "migrate", "read-secure", "open-device", "screenshot",
        "open-graphics", "set-password", "core-dump", "send-input", "snapshot", "pm-control", "suspend", "hibernate",
    )),
    *(f"org.libvirt.api.storage-pool.{what}" for what in ("refresh", "write", "start", "delete", "format")),
    *(f"org.libvirt.api.storage-vol.{what}" for what in ("data-read", "data-write", "delete", "resize", "create")),
    *(f"org.libvirt.api.connect.{what}" for what in ("write", "pm-control", "detect-storage-pools")),
    "org.libvirt.api.secret.read-secure",
    "org.freedesktop.systemd1.manage-units",
    "org.freedesktop.policykit.exec",
    "org.libvirt.unix.monitor.more",
    "",
    "constructor",
    "toString",
}  # fmt: skip
"""Some of what does more, and words that mean something to JavaScript."""


class Engine:
    """A heap of Duktape's, in which polkit's names are known."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(LIBRARY)
        except OSError:
            pytest.skip(f"{LIBRARY} is not here, which comes with polkitd")
        self._library.duk_create_heap.restype = ctypes.c_void_p
        self._library.duk_safe_to_lstring.restype = ctypes.c_char_p
        self._heap = ctypes.c_void_p(self._library.duk_create_heap(None, None, None, None, None))
        self.run(POLKIT)

    def run(self, code: str) -> str:
        """Run some code; return what it comes to, as text. Raises ValueError with the error's text."""
        raw = code.encode()
        failed = self._library.duk_eval_raw(self._heap, raw, ctypes.c_size_t(len(raw)), ctypes.c_uint(EVAL))
        text = self._library.duk_safe_to_lstring(self._heap, ctypes.c_int(-1), None).decode()
        self._library.duk_pop(self._heap)
        if failed:
            raise ValueError(text)
        return str(text)

    def granted(self, action: str, user: str, *groups: str) -> str:
        """Ask the rules, as polkitd would for a process of *user*'s."""
        return self.run(f"granted({json.dumps(action)}, {json.dumps(user)}, {json.dumps(groups)})")

    def end(self) -> None:
        """Let go of it."""
        self._library.duk_destroy_heap(self._heap)


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine()
    made.run(RULES.read_text())
    yield made
    made.end()


def test_the_rule_is_one_that_polkits_engine_reads(engine: Engine) -> None:
    assert engine.run("rules.length") == "1"


@pytest.mark.parametrize("action", sorted(ALLOWED))
def test_the_agents_user_may_look_whatever_its_groups(engine: Engine, action: str) -> None:
    assert engine.granted(action, "domstat") == "yes"
    assert engine.granted(action, "domstat", "domstat", "domstat-readers") == "yes"


@pytest.mark.parametrize("action", sorted(OTHERS))
def test_the_agents_user_may_do_nothing_more(engine: Engine, action: str) -> None:
    assert engine.granted(action, "domstat", "libvirt") == "not handled"


@pytest.mark.parametrize("user", ["nobody", "root", "domstat-readers", "Domstat", "domstat ", ""])
def test_of_nobody_else_the_rule_says_anything(engine: Engine, user: str) -> None:
    answers = {engine.granted(action, user, "domstat", "libvirt") for action in ALLOWED | OTHERS}
    assert answers == {"not handled"}
