"""First process of a machine that is a folder: closes it in, and becomes its systemd.

Run as a script under ``unshare``, in new namespaces of mounts, processes, network, names and cgroups, within a cgroup
of its own. It is pid 1 there, so that all ends with it, mounts too. What of the kernel is the machine's whose folder it
is, /proc/sys, /sys and the devices, is read-only or a stand-in, as systemd-nspawn has it: units that would set it are
skipped by their own conditions.
"""

import os
import subprocess
import sys
from pathlib import Path

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
OWN, OURS = "own", "ours"
"""Whose network it has."""

NOT_TO_HAVE = ("sys_time", "sys_module", "sys_rawio", "syslog")
"""Capabilities that would reach beyond the namespaces."""


def mount(*words: str | Path) -> None:
    subprocess.run(["mount", *words], check=True)


def furnish(root: Path, has_own_network: bool) -> None:
    mount("--bind", root, root)
    mount("-t", "proc", "proc", root / "proc")
    mount("--bind", root / "proc/sys", root / "proc/sys")
    if has_own_network:
        mount("--bind", root / "proc/sys/net", root / "proc/sys/net")
    mount("-o", "remount,bind,ro", root / "proc/sys")
    mount("-t", "sysfs", "-o", "ro,nosuid,nodev,noexec", "sysfs", root / "sys")
    mount("-t", "cgroup2", "cgroup2", root / "sys/fs/cgroup")
    mount("-t", "tmpfs", "-o", "mode=755,nosuid,nodev", "tmpfs", root / "run")
    mount("-t", "tmpfs", "-o", "mode=755,nosuid", "tmpfs", root / "dev")
    for name in DEVICES:
        (root / "dev" / name).touch()
        mount("--bind", f"/dev/{name}", root / "dev" / name)
    for name, options in (("pts", "newinstance,ptmxmode=0666,mode=620"), ("shm", "mode=1777")):
        (root / "dev" / name).mkdir()
        mount("-t", "devpts" if name == "pts" else "tmpfs", "-o", options, name, root / "dev" / name)
    for name, where in (("ptmx", "pts/ptmx"), ("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1")):
        (root / "dev" / name).symlink_to(where)


def show(folder: Path, place: Path) -> None:
    """Have *folder* seen at *place*, where this machine's services would find it."""
    place.mkdir(parents=True)
    mount("--bind", folder, place)


def main(root: Path, network: str, shown: list[str]) -> None:
    furnish(root, network == OWN)
    for pair in shown:
        folder, place = pair.split(":")
        show(Path(folder), root / place.lstrip("/"))
    os.chdir(root)
    subprocess.run(["pivot_root", ".", "."], check=True)
    subprocess.run(["umount", "-l", "."], check=True)
    mount("--make-rshared", "/")  # or no service would see the credentials that are put there for it
    bounds = ",".join(f"-{capability}" for capability in NOT_TO_HAVE)
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "container": "lxc"}
    init = ["/lib/systemd/systemd", "--system", "--show-status=false", "--unit=multi-user.target"]
    os.execvpe("setpriv", ["setpriv", f"--bounding-set={bounds}", *init], environment)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
