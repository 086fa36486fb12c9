"""A headless Chromium that pages are opened in, moved by its DevTools protocol over two pipes."""

import base64
import json
import os
import select
import shutil
import subprocess
import time

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
_SECONDS = 120  # a busy machine takes its time to start a browser
_KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "End": 35, "Home": 36, "ArrowLeft": 37}
_KEYS |= {"ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "PageUp": 33, "PageDown": 34}
_SHIFT = 8  # among the modifiers of the protocol


class Browser:
    """One process, of which every page is a tab."""

    def __init__(self, folder):
        read, self._out = os.pipe()
        self._in, write = os.pipe()
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        options += ["--disable-dev-shm-usage", f"--user-data-dir={folder}/profile"]
        self._process = subprocess.Popen(
            [CHROMIUM, *options, "--remote-debugging-pipe", "about:blank"],
            preexec_fn=lambda: as_protocol_descriptors(read, write),
            close_fds=False,  # none but these can be inherited
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read)
        os.close(write)
        self._number, self._rest, self.events = 0, b"", []

    def close(self):
        """End the process."""
        self._process.terminate()
        self._process.wait(20)
        os.close(self._in)
        os.close(self._out)

    def send(self, method, session=None, **parameters):
        """Return what a command of the protocol gives."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def _receive(self):
        while b"\0" not in self._rest:
            if not select.select([self._in], [], [], _SECONDS)[0]:
                raise TimeoutError("the browser does not answer")
            part = os.read(self._in, 2**20)
            if not part:
                raise RuntimeError("the browser has ended")
            self._rest += part
        text, self._rest = self._rest.split(b"\0", 1)
        return json.loads(text)


def as_protocol_descriptors(read, write):
    """Make two descriptors 3 and 4, as the browser has them, whatever these were."""
    import fcntl  # not everywhere where the tests are read

    apart = [fcntl.fcntl(each, fcntl.F_DUPFD, 10) for each in (read, write)]
    for each, number in zip(apart, (3, 4), strict=True):
        os.dup2(each, number)


class Page:
    """A page in a tab of its own."""

    def __init__(self, browser, path, *, width=1280, height=900, dark=False):
        self.browser = browser
        target = browser.send("Target.createTarget", url="about:blank")["targetId"]
        attached = browser.send("Target.attachToTarget", targetId=target, flatten=True)
        self.session, self.target = attached["sessionId"], target
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        size = {"width": width, "height": height, "deviceScaleFactor": 1}
        self.send("Emulation.setDeviceMetricsOverride", mobile=width < 600, **size)
        self.send("Page.navigate", url=path.as_uri())
        self.wait_for("window.explored !== undefined")

    def send(self, method, **parameters):
        """Return what a command gives, sent to this tab."""
        return self.browser.send(method, self.session, **parameters)

    def close(self):
        """Close the tab."""
        self.browser.send("Target.closeTarget", targetId=self.target)

    def evaluate(self, script):
        """Return the value of an expression of JavaScript."""
        found = self.send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in found:
            raise RuntimeError(json.dumps(found["exceptionDetails"])[:1000])
        return found["result"].get("value")

    def wait_for(self, condition):
        """Return once an expression is true."""
        end = time.monotonic() + _SECONDS
        while not self.evaluate(condition):
            if time.monotonic() > end:
                raise TimeoutError(f"{condition} has not come true: {self.faults()}")
            time.sleep(0.02)

    def press(self, *keys):
        """Press keys by their names, "Shift+Tab" with Shift, one after another."""
        for each in keys:
            shift, _, key = each.rpartition("Shift+")
            event = {"key": key, "code": key if key != " " else "Space"}
            event |= {"windowsVirtualKeyCode": _KEYS[key], "modifiers": _SHIFT * bool(_ or shift)}
            text = {"Enter": "\r", " ": " "}.get(key)
            down = {"type": "keyDown", "text": text} if text else {"type": "rawKeyDown"}
            self.send("Input.dispatchKeyEvent", **event, **down)
            self.send("Input.dispatchKeyEvent", **event, type="keyUp")

    def type(self, text):
        """Type letters."""
        for letter in text:
            event = {"key": letter, "text": letter}
            self.send("Input.dispatchKeyEvent", type="keyDown", **event)
            self.send("Input.dispatchKeyEvent", type="keyUp", key=letter)

    def explored(self):
        """Return what the page shows, once it has drawn it."""
        frames = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        self.evaluate(frames)
        return self.evaluate("window.explored")

    def requests(self):
        """Return the addresses that this tab has asked for."""
        own = [each for each in self.browser.events if each.get("sessionId") == self.session]
        asked = [each["params"] for each in own if each["method"] == "Network.requestWillBeSent"]
        return [each["request"]["url"] for each in asked]

    def faults(self):
        """Return errors and exceptions of this tab."""
        kinds = ("Runtime.exceptionThrown", "Log.entryAdded")
        own = [each for each in self.browser.events if each.get("sessionId") == self.session]
        return [each["params"] for each in own if each["method"] in kinds]

    def screenshot(self, path, *, whole=True):
        """Write a picture of the page, or of what is in sight."""
        found = self.send("Page.captureScreenshot", captureBeyondViewport=whole, format="png")
        path.write_bytes(base64.b64decode(found["data"]))
