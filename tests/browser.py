"""A headless Chromium without a network, driven over its pipe of the DevTools protocol."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

from tests.support import need_program, need_userns

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECONDS = 60
OPTIONS = (
    # a user namespace of the test is all the sandbox there is, and what a container gives as /dev/shm may be too small
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe"),
    *("--no-first-run", "--disable-extensions", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--disable-breakpad", "--hide-scrollbars"),
)


class Browser:
    """One tab. `events` are what the browser told, in order."""

    def __init__(self, sender: int, receiver: int) -> None:
        self._sender, self._receiver = sender, receiver
        self._buffer = b""
        self._last = 0
        self._session = ""
        self.events: list[dict[str, Any]] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.ask(f"{domain}.enable")
        self.ask("Page.setLifecycleEventsEnabled", enabled=True)

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method and return its result."""
        self._last += 1
        session = {"sessionId": self._session} if self._session else {}
        message = {"id": self._last, "method": method, "params": params, **session}
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._sender, data) :]
        while True:
            answer = self._receive()
            if answer.get("id") == self._last:
                assert "error" not in answer, (method, answer)
                return dict(answer["result"])

    def _receive(self) -> dict[str, Any]:
        deadline = time.monotonic() + SECONDS
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._receiver], [], [], max(0, deadline - time.monotonic()))
            assert ready, "the browser does not answer"
            data = os.read(self._receiver, 1 << 16)
            assert data, "the browser ended"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        message = dict(json.loads(line))
        if "method" in message:
            self.events.append(message)
        return message

    def show(self, path: Path) -> None:
        """Go to a file and wait until it is there; `events` are then those of this page."""
        self.events.clear()
        loader = self.ask("Page.navigate", url=path.as_uri())["loaderId"]
        while not any(self._is_loaded(event, loader) for event in self.events):
            self._receive()

    @staticmethod
    def _is_loaded(event: dict[str, Any], loader: str) -> bool:
        """Whether it says that this page is there: that of the one before, a blank one at first, may come late."""
        if event["method"] != "Page.lifecycleEvent":
            return False
        return (event["params"]["loaderId"], event["params"]["name"]) == (loader, "load")

    def look(self, width: int, *, scheme: str = "light", media: str = "screen") -> None:
        """Show the page in this width and colour scheme."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.ask("Emulation.setEmulatedMedia", media=media, features=features)

    def value(self, expression: str) -> Any:
        """What an expression comes to in the page."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str, code: int, text: str = "") -> None:
        """Press a key and let it go."""
        named = {"key": key, "code": key if key != " " else "Space", "windowsVirtualKeyCode": code}
        self.ask("Input.dispatchKeyEvent", type="keyDown", text=text, **named)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **named)

    def complaints(self) -> list[str]:
        """What the console has: errors, violations of the policy, exceptions."""
        kinds = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
        return [json.dumps(event["params"]) for event in self.events if event["method"] in kinds]

    def requests(self) -> list[str]:
        """The addresses that the page asked for."""
        made = (event["params"] for event in self.events if event["method"] == "Network.requestWillBeSent")
        return [str(params["request"]["url"]) for params in made]


@contextlib.contextmanager
def a_browser(folder: Path) -> Iterator[Browser]:
    """Start one that keeps its files in `folder`, in a network namespace of its own; end it and all its processes."""
    need_userns()
    program = need_program("chromium")
    to_read, sender = os.pipe()
    receiver, to_write = os.pipe()
    wiring = f'exec 3<&{to_read} 4>&{to_write} {to_read}<&- {to_write}>&-; exec "$@"'
    argv = [*("bash", "-c", wiring, "bash", "unshare", "-rn", program), *OPTIONS, f"--user-data-dir={folder}"]
    env = {"HOME": str(folder), "PATH": os.environ["PATH"], "TMPDIR": str(folder), "LANG": "C.UTF-8"}
    with open(folder / "log", "wb") as log:
        started = subprocess.Popen(
            argv,
            env=env,
            pass_fds=(to_read, to_write),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    os.close(to_read)
    os.close(to_write)
    try:
        browser = Browser(sender, receiver)
        yield browser
        browser._session = ""
        with contextlib.suppress(AssertionError, OSError):
            browser.ask("Browser.close")
        with contextlib.suppress(subprocess.TimeoutExpired):
            started.wait(10)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()
        os.close(sender)
        os.close(receiver)
