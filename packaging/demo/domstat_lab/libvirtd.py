"""A libvirtd on its own socket, in namespaces of its own."""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import urllib.parse
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from domstat_lab import processes
from domstat_lab.connection import open_connection
from domstat_lab.errors import LabError
from domstat_lab.keeper import COVERED

ANSWER_TIMEOUT_S = 90.0  # seconds until a new libvirtd answers: it probes QEMU's capabilities first, 1-5 s
END_TIMEOUT_S = 60.0  # seconds libvirtd may take to end by itself before it is killed
SOCKET_PATH_LIMIT = 107  # bytes of a Unix socket's path the kernel takes (sun_path less its final zero)
LOG_TAIL = 2000  # characters of libvirtd's log quoted in an error

# host_uuid: by their machine's all labs would be one host, and libvirt migrates no guest to where it is.
LIBVIRTD_CONF = """\
host_uuid = "{host_uuid}"
unix_sock_ro_perms = "0777"
unix_sock_rw_perms = "0700"
auth_unix_ro = "none"
auth_unix_rw = "none"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""
# root: no libvirt-qemu user without libvirt-daemon-system. stdio_handler: no virtlogd beside this libvirtd.
# remember_owner: no extended attributes left on the disks.
QEMU_CONF = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
stdio_handler = "file"
namespaces = []
cgroup_controllers = []
"""


class PrivateLibvirtd:
    """A libvirtd of its own below `folder`, with its own network, processes and directories.

    It leaves the machine's libvirt, network and cgroups alone, and everything of it ends with the process that
    started it. Needs root, for the namespaces and the taps.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.pid = 0  # of libvirtd, as seen from here; 0 while there is none
        self._keeper: subprocess.Popen[str] | None = None
        self._namespace = ""
        self._numbers = itertools.count(1)

    @property
    def socket_ro(self) -> Path:
        """The socket that allows reading only."""
        return self.folder / "run" / "libvirt-sock-ro"

    @property
    def socket_rw(self) -> Path:
        """The socket that allows everything."""
        return self.folder / "run" / "libvirt-sock"

    @property
    def uri_ro(self) -> str:
        """What an agent connects to."""
        return f"qemu+unix:///system?socket={urllib.parse.quote(str(self.socket_ro))}"

    @property
    def uri_rw(self) -> str:
        """What starts and ends guests."""
        return f"qemu+unix:///system?socket={urllib.parse.quote(str(self.socket_rw))}"

    def next_number(self) -> int:
        """Return a number no other guest of this lab has; its pair of addresses is made of it."""
        return next(self._numbers)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Make the namespaces (once) and start libvirtd in them; return when it answers."""
        if self.pid:
            raise LabError("this libvirtd runs already")
        if self._keeper is None:
            self._keeper = self._start_keeper()
        inside = int(self._ask("start"))
        members = processes.namespace_members(self._namespace)
        if inside not in members:
            raise LabError(f"libvirtd ended at once. {self._log_tail()}")
        self.pid = members[inside]
        try:
            processes.wait_until(self._answers, timeout_s=ANSWER_TIMEOUT_S, otherwise="libvirtd does not answer")
        except LabError as error:
            raise LabError(f"{error}. {self._log_tail()}") from error
        # libvirtd looks at the machine and at all of QEMU's programs once, about a second, within the first call that
        # asks for CPU statistics. Done here, it is not in anybody's measurement.
        libvirt = self.connect()
        libvirt.getCapabilities()
        libvirt.close()

    def stop(self) -> None:
        """End everything at once: the namespaces, and with them libvirtd, all guests, their taps and the mounts.

        May be called at any time, and twice. What remains is the folder.
        """
        if self._keeper is not None:
            self._end_namespaces(self._keeper)
        self._keeper = None
        self.pid = 0

    def terminate(self) -> None:
        """Ask libvirtd to end, and see to it. Its guests stay."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill libvirtd as a crash would. Its guests stay."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """End libvirtd and start a new one, which finds the guests of the old one running."""
        if self.pid:
            self.terminate()
        self.start()

    def sigstop(self) -> None:
        """Make libvirtd hang: its sockets stay and take connections, but nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def sigcont(self) -> None:
        """Let a hanging libvirtd go on."""
        os.kill(self.pid, signal.SIGCONT)

    def connect(self) -> Any:
        """Open a read-write connection; the caller closes it."""
        return open_connection(self.uri_rw)

    def qemu_pids(self) -> dict[str, int]:
        """Return the pids, as seen from here, of the guests' QEMU processes by guest name."""
        members = processes.namespace_members(self._namespace)
        pids = {}
        for status in (self.folder / "run" / "qemu").glob("*.xml"):
            with contextlib.suppress(FileNotFoundError, ValueError):  # the guest is just starting or ending
                inside = int(status.with_suffix(".pid").read_text())
                if inside in members:
                    pids[status.stem] = members[inside]
        return pids

    def qemu_pid(self, name: str) -> int:
        """Return the pid, as seen from here, of the QEMU process of one guest."""
        pid = self.qemu_pids().get(name)
        if pid is None:
            raise LabError(f"the guest {name} has no QEMU process: is it running?")
        return pid

    def _start_keeper(self) -> subprocess.Popen[str]:
        if os.geteuid() != 0:
            raise LabError("the lab needs root, for its namespaces and taps: run it with sudo, or through ./dev")
        if len(os.fsencode(self.socket_ro)) > SOCKET_PATH_LIMIT:
            raise LabError(f"{self.socket_ro} is too long for a socket's path: choose a folder with a shorter name")
        for name in COVERED:
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "etc" / "libvirtd.conf").write_text(LIBVIRTD_CONF.format(host_uuid=uuid.uuid4()))
        (self.folder / "etc" / "qemu.conf").write_text(QEMU_CONF)
        with (self.folder / "log" / "keeper.log").open("wb") as complaints:
            keeper = subprocess.Popen(
                [
                    *("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"),
                    *(
                        "--propagation",
                        "private",
                        sys.executable,
                        "-I",
                        Path(__file__).with_name("keeper.py"),
                        self.folder,
                    ),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                text=True,
                start_new_session=True,  # a Ctrl-C in the terminal is the lab's business, not the keeper's
            )
        self._keeper = keeper
        if self._line() != "ready":
            raise LabError(f"the lab's namespaces could not be made. {self._log_tail()}")
        self._namespace = self._child_namespace(keeper.pid)
        return keeper

    def _child_namespace(self, unshare_pid: int) -> str:
        """Name the pid namespace `unshare` made: the one its children are born in."""
        return str(Path(f"/proc/{unshare_pid}/ns/pid_for_children").readlink())

    def _ask(self, request: str) -> str:
        assert self._keeper is not None
        assert self._keeper.stdin is not None
        try:
            self._keeper.stdin.write(f"{request}\n")
            self._keeper.stdin.flush()
            answer = self._line()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise LabError(f"the lab's namespaces are gone, or `{request}` failed in them. {self._log_tail()}")
        return answer

    def _line(self) -> str:
        """Read one line of the keeper; it answers at once or, having ended, with an empty line."""
        assert self._keeper is not None
        assert self._keeper.stdout is not None
        return self._keeper.stdout.readline().strip()

    def _answers(self) -> bool:
        if not processes.is_running(self.pid):
            raise LabError("libvirtd ended while starting")
        if not self.socket_ro.exists():
            return False
        try:
            open_connection(self.uri_ro, readonly=True).close()
        except LabError:
            return False
        return True

    def _end(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)
        try:
            processes.wait_until(
                lambda: not processes.is_running(self.pid), timeout_s=END_TIMEOUT_S, otherwise="libvirtd does not end"
            )
        except LabError:
            os.kill(self.pid, signal.SIGKILL)
        self.pid = 0

    def _end_namespaces(self, keeper: subprocess.Popen[str]) -> None:
        assert keeper.stdin is not None
        assert keeper.stdout is not None
        first = processes.namespace_members(self._namespace).get(1) if self._namespace else None
        with contextlib.suppress(ProcessLookupError):
            os.kill(first or keeper.pid, signal.SIGKILL)  # with pid 1 the kernel ends all others, and unshare follows
        keeper.wait()
        keeper.stdin.close()
        keeper.stdout.close()
        if self._namespace:
            processes.wait_until(
                lambda: not processes.namespace_members(self._namespace),
                timeout_s=END_TIMEOUT_S,
                otherwise="processes of the lab are left",
            )

    def _log_tail(self) -> str:
        parts = []
        for name in ("keeper.log", "libvirtd.out", "libvirtd.log"):
            file = self.folder / "log" / name
            if file.exists() and (text := file.read_text(errors="replace").strip()):
                parts.append(f"{name}: {text[-LOG_TAIL:]}")
        return "\n".join(parts) or "Its log is empty."
