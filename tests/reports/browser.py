"""A headless Chromium through chromedriver's HTTP interface: what a person would see."""

import base64
import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.request

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MISSING = "Debian's chromium and chromium-driver are not installed"


class Page:
    """One window."""

    def __init__(self, base):
        self._base = base
        options = {
            "binary": CHROMIUM,
            "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1200,900"],
        }
        asked = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
        self._session = f"/session/{self._send('/session', asked)['sessionId']}"

    def open(self, path):
        """Opens a file."""
        self._send(f"{self._session}/url", {"url": path.resolve().as_uri()})

    def run(self, script):
        """What a script returns."""
        return self._send(f"{self._session}/execute/sync", {"script": script, "args": []})

    def screenshot(self, path, width=1200):
        """Writes the whole page as a PNG."""
        height = self.run("return document.documentElement.scrollHeight")
        size = {"width": width, "height": min(height + 150, 12_000)}
        self._send(f"{self._session}/window/rect", size)
        with urllib.request.urlopen(
            f"{self._base}{self._session}/screenshot", timeout=60
        ) as answer:
            path.write_bytes(base64.b64decode(json.load(answer)["value"]))

    def close(self):
        """Ends the browser."""
        request = urllib.request.Request(self._base + self._session, method="DELETE")
        urllib.request.urlopen(request, timeout=60).close()

    def _send(self, path, content):
        body = json.dumps(content).encode()
        request = urllib.request.Request(
            self._base + path, body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]


@contextlib.contextmanager
def page():
    """A `Page`; the browser and its driver end with the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    driver = subprocess.Popen(
        [DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    base = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{base}/status", timeout=5).close()
                break
            except OSError:
                assert driver.poll() is None, "chromedriver ended"
                assert time.monotonic() < until, "chromedriver did not answer"
                time.sleep(0.1)
        window = Page(base)
        try:
            yield window
        finally:
            window.close()
    finally:
        driver.terminate()
        driver.wait(timeout=30)
