"""First process of the lab's namespaces: prepares them, starts libvirtd on request and reaps what QEMU leaves.

Run as a script by PrivateLibvirtd under `unshare --mount --net --pid --fork`. It is pid 1 of its pid namespace, so the
kernel ends libvirtd and every guest with it, and the taps and mounts go with the namespaces: however the lab dies,
nothing stays behind. It ends when its standard input does, that is with the process that holds the lab.

One line on standard input asks, one line on standard output answers: `start` → the pid of libvirtd inside.
"""

import contextlib
import os
import selectors
import signal
import subprocess
import sys
from pathlib import Path

# Where libvirtd, as Debian builds it, keeps everything; each is covered by a folder of the lab.
COVERED = {
    "run": "/run/libvirt",
    "lib": "/var/lib/libvirt",
    "cache": "/var/cache/libvirt",
    "log": "/var/log/libvirt",
    "etc": "/etc/libvirt",
}
# The user libvirtd wants to exist even when told to run its guests as another; libvirt-daemon-system makes it.
ACCOUNT = "libvirt-qemu"
ACCOUNT_ENTRIES = {
    "passwd": f"{ACCOUNT}:x:64055:64055::/nonexistent:/usr/sbin/nologin\n",
    "group": f"{ACCOUNT}:x:64055:\n",
}
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C",
    # Without this libvirtd would ask the machine's systemd and firewalld about the lab's guests.
    "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent",
}


def prepare(folder: Path) -> None:
    """Cover libvirt's directories and show this network namespace, not the machine's, in /sys."""
    for name, place in COVERED.items():
        # Debian's libvirt-daemon has no such directories (libvirt-daemon-system brings them). They stay, empty:
        # removing a directory would tear another lab's mount off it.
        Path(place).mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "--bind", folder / name, place], check=True)
    for name, entry in ACCOUNT_ENTRIES.items():
        cover_account(folder, Path("/etc") / name, entry)
    # A fresh sysfs has no cgroup file systems below it either: the lab makes no cgroups that would outlive it.
    subprocess.run(["mount", "-t", "sysfs", "-o", "nosuid,nodev,noexec", "sysfs", "/sys"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def cover_account(folder: Path, file: Path, entry: str) -> None:
    """Where the machine has no such account, show libvirtd, and it only, a list that has."""
    text = file.read_text()
    if not any(line.startswith(f"{ACCOUNT}:") for line in text.splitlines()):
        completed = folder / file.name
        completed.write_text(f"{text.rstrip()}\n{entry}")
        subprocess.run(["mount", "--bind", completed, file], check=True)


def start(folder: Path) -> int:
    """Start libvirtd in the foreground; what it prints goes to a file, for the error messages."""
    with (folder / "log" / "libvirtd.out").open("ab") as output:
        daemon = subprocess.Popen(
            ["libvirtd", "--pid-file", "/run/libvirt/libvirtd.pid"],
            env=ENVIRONMENT,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    daemon.returncode = 0  # reap() collects it like every other process: Popen must not wait for it
    return daemon.pid


def reap() -> None:
    """Collect all ended children: libvirtd takes a guest for alive while its QEMU is a zombie."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def main(folder: Path) -> None:
    """Serve requests and ended children until standard input ends."""
    prepare(folder)
    waker, wake = os.pipe()
    os.set_blocking(waker, False)
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin, selectors.EVENT_READ)
    selector.register(waker, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            if key.fd == waker:
                os.read(waker, 512)
            elif sys.stdin.readline().strip() == "start":
                print(start(folder), flush=True)
            else:
                return
        reap()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
