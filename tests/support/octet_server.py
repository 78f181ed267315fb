"""Starts `octet serve` for a test on a free port of the loopback, and ends it."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
OCTET = os.environ.get("OCTET", str(ROOT / "build/release/octet"))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(what, seconds=20):
    """What what() gives, once it is true."""
    end = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
    return value


class Server:
    """A running server. Flags are appended to `octet serve MODEL`."""

    def __init__(self, *flags, model="tiny", environment=None, wait=True):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = tempfile.NamedTemporaryFile("w+", suffix=".log", delete=False)
        env = {**os.environ, **(environment or {})}
        for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "http_proxy", "https_proxy"):
            env.pop(name, None)
        self.process = subprocess.Popen([OCTET, "serve", model, "--port", str(self.port), "--threads", "2", *flags],
                                        stderr=self.log, stdout=self.log, env=env)
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}:\n{self.text()}")
            try:
                if self.get("/health").get("status") == "ok":
                    return
            except (OSError, urllib.error.URLError):
                pass
            time.sleep(0.05)
        raise RuntimeError(f"the server was not ready in {seconds} s:\n{self.text()}")

    def text(self):
        return pathlib.Path(self.log.name).read_text(errors="replace")

    def get(self, path, headers=None):
        with self.open("GET", path, headers=headers) as r:
            return json.loads(r.read() or b"{}")

    def post(self, path, body, headers=None, timeout=120):
        with self.open("POST", path, json.dumps(body).encode(), headers, timeout) as r:
            return json.loads(r.read())

    def open(self, method, path, data=None, headers=None, timeout=120):
        request = urllib.request.Request(self.url + path, data, method=method,
                                         headers={"Content-Type": "application/json", **(headers or {})})
        return urllib.request.urlopen(request, timeout=timeout)

    def status(self, method, path, data=None, headers=None):
        """(status, JSON or text) of any answer, errors too."""
        try:
            with self.open(method, path, data, headers) as r:
                status, text = r.status, r.read()
        except urllib.error.HTTPError as e:
            status, text = e.code, e.read()
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text.decode(errors="replace")

    def metrics(self):
        """{name: value} of /metrics; values of the same name with other labels are added up."""
        with self.open("GET", "/metrics") as r:
            lines = r.read().decode().splitlines()
        out = {}
        for line in lines:
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                name = name.partition("{")[0]
                out[name] = out.get(name, 0) + float(value)
        return out

    def stop(self, seconds=40):
        """Ends it as an operator would; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()
        return self.process.returncode

    def __enter__(self):
        return self

    def __exit__(self, *_):
        code = self.stop()
        text = self.text()
        os.unlink(self.log.name)
        assert code == 0, f"exit code {code}:\n{text}"
