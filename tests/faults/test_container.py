"""The container, built and run by podman on a Debian 12 in a folder, with real guests behind the host's socket."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from domstat_lab.libvirtd import PrivateLibvirtd
from real.conftest import BURNER, WRITER

from .booted import Booted, skip_where_it_cannot_be
from .debian import INSTALL, TREE, Root

pytestmark = pytest.mark.faults

NUMBER = "64055"
"""Of the user and the group that the lab's libvirtd has a name for, whatever the machine."""

IMAGE = "docker.io/library/debian:12-slim"
BUILD = ("podman", "build", "--format", "docker", "--file", "packaging/container/Containerfile", "--tag", "domstat")
HERE = ("--isolation", "chroot", "--network", "host")
"""crun raises a limit for whatever it gives a cgroup, which takes CAP_SYS_RESOURCE: not every machine has that."""

INSIDE = ("podman", "exec", "domstat")
SCRAPE = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:10177/metrics').read().decode())"


@pytest.fixture(scope="module")
def built(root: Root, bare: Path, package: Path) -> Root:
    """A root with podman, which has built the image on a base that is made here: no registry is asked."""
    skip_where_it_cannot_be()
    root.run(*INSTALL, "systemd", "systemd-sysv", "dbus", "podman", "python3")
    tree = root.path("/srv/tree")
    shutil.copytree(TREE / "packaging" / "container", tree / "packaging" / "container")
    (tree / "dist").mkdir()
    shutil.copy(package, tree / "dist")
    subprocess.run(["tar", "-C", bare, "-cf", root.path("/srv/base.tar"), "."], check=True)
    with Booted(root, fetches=True) as running:
        running.run("podman", "import", "--quiet", "/srv/base.tar", IMAGE)
        build = " ".join((*BUILD, *HERE))
        said = running.run("sh", "-c", f"cd /srv/tree && {build} .", fails=True)
        assert "is to be given: --build-arg gid=NUMBER" in said
        said = running.run("sh", "-c", f"cd /srv/tree && {build} --build-arg uid={NUMBER} --build-arg gid={NUMBER} .")
        assert "warning" not in said.lower().replace("useradd warning", "")
    root.path("/srv/base.tar").unlink()
    return root


@pytest.fixture(scope="module")
def host(built: Root, lab: PrivateLibvirtd) -> Iterator[Booted]:
    """The host, with guests and a network of its own."""
    with Booted(built, {"/run/libvirt": lab.folder / "run"}) as running:
        yield running


def start(host: Booted) -> None:
    closed = ("--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges")
    mounted = ("--volume", "/run/libvirt:/run/libvirt:ro", "--volume", "domstat:/var/lib/domstat")
    here = ("--cgroups", "disabled", "--ulimit", "host")  # as for HERE
    run = ("podman", "run", "--detach", "--replace", "--name", "domstat", "--hostname", "kvm1")
    host.run(*run, *closed, *mounted, "--publish", "127.0.0.1:10177:10177", *here, "domstat")


@pytest.fixture
def container(host: Booted) -> Iterator[Booted]:
    start(host)
    yield host
    host.run("podman", "rm", "--force", "domstat")


def guests(host: Booted) -> set[str]:
    """Return the guests that the history knows, if there is one yet."""
    listed = host.run(*INSIDE, "sh", "-c", "domstat history list || true").splitlines()
    return {json.loads(line)["domain"] for line in listed if line.startswith("{")}


def exit_code(host: Booted) -> int:
    return int(host.run("podman", "inspect", "--format", "{{.State.ExitCode}}", "domstat"))


def is_healthy(host: Booted) -> bool:
    """Whether the image's health check says so."""
    return "yes" in host.run("sh", "-c", "podman healthcheck run domstat >/dev/null && echo yes || true")


def test_it_collects_what_the_hosts_libvirt_has(container: Booted) -> None:
    container.wait_for(lambda: {WRITER.name, BURNER.name} <= guests(container), "guests in the history")
    container.wait_for(lambda: is_healthy(container), "health check that succeeds")
    assert 'host="kvm1"' in container.run("python3", "-c", SCRAPE)
    assert "nothing has changed" in container.run(*INSIDE, "domstat", "reload")


def test_it_has_no_rights_and_one_folder(container: Booted) -> None:
    shown = container.run(*INSIDE, "cat", "/proc/1/status").splitlines()
    found = {name: value.split() for name, _, value in (line.partition(":") for line in shown)}
    assert found["Uid"] == [NUMBER] * 4
    assert (found["CapBnd"], found["NoNewPrivs"], found["Seccomp"]) == (["0" * 16], ["1"], ["2"])
    assert container.run(*INSIDE, "stat", "-c", "%a %U %G", "/var/lib/domstat").split() == ["700", "domstat", "domstat"]
    assert "Read-only" in container.run(*INSIDE, "touch", "/etc/was-here", fails=True)


def test_it_ends_as_asked_although_it_has_only_just_begun(container: Booted) -> None:
    container.run("podman", "stop", "domstat")
    assert exit_code(container) == 0


def test_it_ends_as_asked_and_another_one_goes_on(container: Booted) -> None:
    container.wait_for(lambda: {WRITER.name, BURNER.name} <= guests(container), "guests in the history")
    container.run("podman", "stop", "domstat")
    assert exit_code(container) == 0
    start(container)
    assert {WRITER.name, BURNER.name} <= guests(container)
