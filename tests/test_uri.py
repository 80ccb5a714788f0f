"""Connection URIs: whom they name, their dangers, and that passwords do not show."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat.uri import HIDDEN, dangers_of, host_of, is_uri, redacted


@pytest.mark.parametrize(
    "uri", ["qemu:///system", "xen:///", "qemu+ssh://root@[2001:db8::1]:22/system?keyfile=/k", "test:///default"]
)
def test_libvirts_uris_are_uris(uri: str) -> None:
    assert is_uri(uri)


@pytest.mark.parametrize("text", ["", "kvm1", "/etc/x", "qemu://[::1/system", "qemu:///sys\x1btem"])
def test_other_texts_are_not(text: str) -> None:
    assert not is_uri(text)


@pytest.mark.parametrize(
    ("uri", "host"),
    [
        ("qemu:///system", None),
        ("qemu+ssh://me:pw@KVM7.example.org:2222/system", "kvm7.example.org"),
        ("qemu+tls://[2001:db8::1]:16514/system", "2001:db8::1"),
        ("qemu://[::1/system", None),
    ],
)
def test_the_host_is_what_stands_between_user_and_port(uri: str, host: str | None) -> None:
    assert host_of(uri) == host


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("qemu:///system", []),
        ("qemu+ssh://h/system", []),
        ("qemu+tls://h/system", []),
        ("qemu+tcp://h/system", ["tcp"]),
        ("QEMU+TCP://h/system", ["tcp"]),
        ("tcp://h/system", []),
        ("qemu://h/system?no_verify=1", ["no_verify"]),
        ("qemu://h/system?a=b&NO_VERIFY=2", ["no_verify"]),
        ("qemu://h/system?a=b;no_verify=1", ["no_verify"]),
        ("qemu://h/system?no%5Fverify=%31", ["no_verify"]),
        ("qemu://h/system?no_verify=0&no_verify=1", ["no_verify"]),
        ("qemu://h/system?no_verify=yes", ["no_verify"]),
        ("qemu://h/system?no_verify=0", []),
        ("qemu+tcp://h/system?no_verify=1", ["tcp", "no_verify"]),
        ("qemu://[::1/system?no_verify=1", []),
    ],
)
def test_dangers_are_found_as_libvirt_would_read_them(uri: str, words: list[str]) -> None:
    assert [word for word, _ in dangers_of(uri)] == words


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("qemu:///system", "qemu:///system"),
        ("qemu+ssh://root@h:22/system", "qemu+ssh://root@h:22/system"),
        ("qemu+ssh://h:22/system?x=a@b", "qemu+ssh://h:22/system?x=a@b"),
        ("qemu+ssh://root:pa:ss@wo%40rd@h/system", "qemu+ssh://root:***@h/system"),
        ("esx://:pw@[::1]:22/?auto", "esx://:***@[::1]:22/?auto"),
        ("no driver for a://b:c@d/ and e://f:g@h/", "no driver for a://b:***@d/ and e://f:***@h/"),
    ],
)
def test_passwords_are_hidden_and_nothing_else(text: str, shown: str) -> None:
    assert redacted(text) == shown


@pytest.mark.parametrize("password", ["pa/ss", "pa?ss", "pa#ss", "/", "12a/3", "p@ss", "a/b@c", "käse", "%2F:x"])
def test_a_password_is_hidden_also_where_it_should_have_been_escaped(password: str) -> None:
    shown = redacted(f"cannot parse qemu+ssh://me:{password}@kvm7/system: no such thing")
    assert shown == f"cannot parse qemu+ssh://me:{HIDDEN}@kvm7/system: no such thing"


def test_a_port_and_a_path_with_an_at_sign_are_no_password() -> None:
    text = "http://kvm7:8086/a@b qemu+tls://kvm7:16514/system?x=a@b http://kvm7:80#a@b http://[::1]:80/a@b"
    assert redacted(text) == text


@given(st.text(max_size=60))
def test_any_text_may_be_looked_at(text: str) -> None:
    is_uri(text)
    host_of(text)
    list(dangers_of(text))
    assert redacted(redacted(text)) == redacted(text)
