"""A browser without a screen, for pages that domstat writes: Debian's Chromium, spoken to over a pipe.

It tells what a page asked the network for and what it complained of, and takes pictures of it::

    with Chromium(folder) as browser:
        page = browser.open(file, width=420)
        page.ask("document.title")
        page.requests, page.complaints
        page.picture(Path("narrow.png"))

The protocol is Chromium's own (DevTools), JSON texts that each end in a zero byte.
"""

import base64
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import time
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from domstat_lab.errors import LabError

ANSWER_TIMEOUT_S = 90.0  # seconds until an answer: below one on an idle machine
END_TIMEOUT_S = 20.0  # seconds the browser may take to end before it is killed
POLL_S = 0.05  # seconds between two looks at a page that draws: far below what that takes
READ_BYTES = 1 << 16

OPTIONS = (
    "--headless", "--no-sandbox", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
    "--force-device-scale-factor=1", "--font-render-hinting=none",
)  # fmt: skip
"""What makes it quiet: it asks nobody for anything of its own, and draws the same on every machine. A sandbox is not to
be had as root, nor in a container, and pages are our own."""


def program() -> str:
    """Find the browser. Raises LabError if it is not there."""
    if found := shutil.which("chromium"):
        return found
    raise LabError("chromium is not here: ./dev test installs it")


class Chromium:
    """One browser; its profile and its log are below *folder*. A context manager."""

    def __init__(self, folder: Path) -> None:
        """Prepare; nothing runs yet."""
        self.folder = folder.absolute()
        self._numbers = count(1)
        self._buffer = b""
        self._pages: dict[str, Page] = {}

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        asks, self._write = os.pipe()
        self._read, tells = os.pipe()
        command = [program(), *OPTIONS, f"--user-data-dir={self.folder / 'profile'}", "about:blank"]
        # It reads at 3 and writes at 4, which only a shell can see to without code between fork and exec.
        shell = f'exec setpriv --pdeathsig KILL -- "$@" 3<&{asks} 4>&{tells}'
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                ["bash", "-c", shell, "bash", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(asks, tells),
                start_new_session=True,
            )
        os.close(asks)
        os.close(tells)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(LabError, OSError):
            self.call("Browser.close")
        os.close(self._write)
        try:
            self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        os.close(self._read)

    def open(self, file: Path, *, width: int = 1280, height: int = 900, dark: bool = False) -> "Page":
        """Show a file, and return once it has been loaded and has drawn its charts."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session, target)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        page.resize(width, height)
        page.prefer(dark=dark)
        page.call("Page.navigate", url=file.absolute().as_uri())
        page.wait_for("document.readyState === 'complete' && location.protocol === 'file:'")
        return page

    def call(self, method: str, session: str | None = None, /, **parameters: Any) -> dict[str, Any]:
        """Have the browser do something, and return its answer. Raises LabError where it cannot."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            told = self._next()
            if told.get("id") == number:
                if "error" in told:
                    raise LabError(f"chromium cannot {method}: {told['error']['message']}")
                return dict(told["result"])
            if page := self._pages.get(told.get("sessionId", "")):
                page.hear(told["method"], told["params"])

    def _next(self) -> dict[str, Any]:
        """Wait for what it tells next."""
        deadline = time.monotonic() + ANSWER_TIMEOUT_S
        while b"\0" not in self._buffer:
            if not select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise LabError(f"chromium has not answered for {ANSWER_TIMEOUT_S:g} s: {self._log()}")
            read = os.read(self._read, READ_BYTES)
            if not read:
                raise LabError(f"chromium has ended: {self._log()}")
            self._buffer += read
        told, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(told))

    def _log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-2000:]


class Page:
    """One page: what it asked the network for, and what it complained of, so far."""

    def __init__(self, browser: Chromium, session: str, target: str) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._browser = browser
        self._session = session
        self._target = target

    def close(self) -> None:
        """Close it; it takes as much memory as a small browser."""
        self._browser.call("Target.closeTarget", targetId=self._target)

    def call(self, method: str, /, **parameters: Any) -> dict[str, Any]:
        """Have the browser do something with this page."""
        return self._browser.call(method, self._session, **parameters)

    def ask(self, expression: str) -> Any:
        """Return what an expression of JavaScript is, once a promise is kept. Raises LabError where it throws."""
        told = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in told:
            raise LabError(f"{expression}: {told['exceptionDetails']}")
        return told["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Return once an expression holds."""
        deadline = time.monotonic() + ANSWER_TIMEOUT_S
        while not self.ask(expression):
            if time.monotonic() > deadline:
                raise LabError(f"not so within {ANSWER_TIMEOUT_S:g} s: {expression}; {self.complaints}")
            time.sleep(POLL_S)

    def resize(self, width: int, height: int) -> None:
        """Have the window be so large, in pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)

    def prefer(self, *, dark: bool) -> None:
        """Have the person prefer dark pages, or light ones."""
        wanted = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[wanted])

    def picture(self, path: Path, *, height: int | None = None) -> None:
        """Take a picture of the page from its top, so many pixels of it or all."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"], "scale": 1}
        told = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(told["data"]))

    def printed(self, path: Path) -> None:
        """Print the page into a PDF."""
        told = self.call("Page.printToPDF", printBackground=True, preferCSSPageSize=True)
        path.write_bytes(base64.b64decode(told["data"]))

    def hear(self, event: str, told: dict[str, Any]) -> None:
        """Take note of something that happened to the page."""
        match event:
            case "Network.requestWillBeSent":
                self.requests.append(told["request"]["url"])
            case "Runtime.consoleAPICalled" if told["type"] in {"error", "warning", "assert"}:
                self.complaints.append(str([one.get("value", one.get("description")) for one in told["args"]]))
            case "Runtime.exceptionThrown":
                self.complaints.append(str(told["exceptionDetails"]))
            case "Log.entryAdded":
                self.complaints.append(told["entry"]["text"])
