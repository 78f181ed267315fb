"""An engine that stands still: its clients hear of it, the server becomes itself anew or ends. Sockets that are handed over."""
import functools
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time

import checkpoints
import freeze
import octet_server
import pytest
from octet_server import OCTET, Server, free_port
from raw_client import Client, events

USER = [{"role": "user", "content": "Tell me a story."}]
SHORT = {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
# Threads of the computation: the engine's own waits for this one's part of a step, holding nothing.
WORKER = "octet-pool-1"
SECONDS = 2
wait_for = functools.partial(octet_server.wait_for, seconds=30)


def long(tokens=15000, **more):
    return {"model": "tiny", "messages": USER, "stream": True, "min_tokens": tokens, "max_tokens": tokens, **more}


@pytest.fixture(scope="module")
def ptrace():
    process = subprocess.Popen(["sleep", "60"])
    why = freeze.refused(process.pid)
    process.kill()
    process.wait()
    if why:
        pytest.skip(why)


needs_ptrace = pytest.mark.usefixtures("ptrace")


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Takes about a second to load."""
    return str(checkpoints.stacked(tmp_path_factory.mktemp("models") / "large", 6))


def watched(*flags, **more):
    return Server("--watchdog-timeout", str(SECONDS), "--served-model-name", "tiny", *flags, **more)


def freeze_engine(server, thread=WORKER):
    """The engine makes no step from here on. Needs an answer under way."""
    def stuck():
        if thread == WORKER:
            return freeze.waits(server.process.pid, "octet-engine")
        try:  # what the watchdog itself looks at is free
            return server.open("GET", "/metrics", timeout=5).close() is None
        except OSError:
            return False
    return freeze.Frozen(server.process.pid, thread).until(stuck).bury()


def restarted(server, times=1):
    try:
        wait_for(lambda: server.text().count("restarted after") == times)
    except AssertionError:
        raise AssertionError(server.text())


def end(server, code=0):
    try:
        assert server.stop() == code, server.text()
    finally:
        server.process.kill()
        os.unlink(server.log.name)


class Prober(threading.Thread):
    """Asks again and again whether the process lives, each time over a connection of its own."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.answers, self.over = port, [], False

    def run(self):
        while not self.over:
            try:
                with Client(self.port) as client:
                    self.answers.append(client.send(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n").head()[0])
            except (OSError, EOFError) as e:
                self.answers.append(repr(e))
            time.sleep(0.02)

    def stop(self):
        self.over = True
        self.join()
        return self.answers


@needs_ptrace
def test_the_server_restarts_when_a_step_hangs(large):
    server = watched("--weight-cache", "off", "--max-num-seqs", "5", model=large)
    pid = server.process.pid
    chat = Client(server.port).ask(long())
    logprobs = Client(server.port).ask(long(logprobs=True))
    message = Client(server.port).ask(long(model="claude-x"), "/v1/messages")
    response = Client(server.port).ask({"model": "tiny", "input": "Tell me a story.", "stream": True, "min_tokens": 15000, "max_output_tokens": 15000}, "/v1/responses")
    completion = Client(server.port).ask({"model": "tiny", "prompt": "Once", "stream": True, "min_tokens": 15000, "max_tokens": 15000}, "/v1/completions")
    for client in chat, logprobs, message, response, completion:
        assert client.head()[0] == 200
        next(client.chunks())
    queued = [Client(server.port).ask(long(stream=False)), Client(server.port).ask(long(model="claude-x", stream=False), "/v1/messages"),
              Client(server.port).ask({"model": "tiny", "prompt": ["a", "b"], "max_tokens": 5}, "/v1/completions")]
    wait_for(lambda: server.metrics()["vllm:num_requests_waiting"] == 4)
    prober = Prober(server.port)
    prober.start()
    freeze_engine(server)
    for client in chat, logprobs, completion:
        got, done = events(b"".join(client.chunks()))
        assert done and got[-1]["error"]["code"] == 500 and "engine has failed" in got[-1]["error"]["message"]
        assert all("error" not in x for x in got[:-1])
    text = b"".join(message.chunks()).decode()
    assert "event: error\n" in text and "message_stop" not in text
    text = b"".join(response.chunks()).decode()
    assert "event: response.failed" in text and "response.completed" not in text
    for client in queued:
        assert client.head()[0] == 500
        body = json.loads(client.body())
        assert "engine has failed" in body["error"]["message"], body
    restarted(server)
    server.wait_until_ready()
    # Who came while nobody accepted was not refused.
    answers = prober.stop()
    assert set(answers) == {200}, answers
    assert server.process.poll() is None and server.process.pid == pid
    assert server.post("/v1/chat/completions", SHORT)["usage"]["completion_tokens"] == 4
    assert server.metrics()["octet:watchdog_stalls_total"] == 1
    text = server.text()
    # The counts are those of the last step: the one that hangs may have taken the waiting ones in.
    line = next(x for x in text.splitlines() if "the engine has failed" in x)
    assert re.search(r" ERROR the engine has failed: running 5, waiting [0-4],.* steps \d+.* restarts=yes .*octet-engine [RS],.*octet-pool t,", line), line
    assert len(re.findall(r"ERROR under way: \S+: \d+ s, answering, \d+ tokens after \d+", text)) == 5
    assert len(re.findall(r"ERROR under way: \S+: \d+ s, waiting, 0 of \d+ prompt tokens", text)) == 4
    assert freeze.thread_ids(pid)["octet"] == [pid]
    end(server)


@needs_ptrace
def test_whoever_asks_meanwhile_is_answered(large):
    server = watched("--weight-cache", "off", model=large)
    idle = [Client(server.port) for _ in range(3)]
    with Client(server.port).ask(long()) as client:
        assert client.head()[0] == 200
        freeze_engine(server)
        wait_for(lambda: "the engine has failed" in server.text())
        asked = [503]
        while asked[-1] != 200 and len(asked) < 20000:
            # One after another: some of them meet a process that is about to change.
            asked.append(server.status("POST", "/v1/chat/completions", json.dumps(SHORT).encode())[0])
    # 500: it came when the others were told.
    assert set(asked) <= {200, 500, 503} and asked.count(500) <= 1 and asked[-1] == 200 and len(asked) > 5, asked
    for client in idle:  # they are closed, not left hanging
        assert client.closed()
    end(server)


@needs_ptrace
def test_without_auto_restart_it_ends_with_status_70():
    server = watched("--no-auto-restart")
    slow = Client(server.port, receive_buffer=4096).ask(long(logprobs=True, top_logprobs=20))
    wait_for(lambda: server.metrics()["vllm:generation_tokens_total"] > 0)
    wait_for(lambda: freeze.waits(server.process.pid, "octet-engine"))  # for its reader
    whole = Client(server.port).ask(long(stream=False))
    wait_for(lambda: server.metrics()["vllm:num_requests_running"] == 2)
    freeze_engine(server)
    assert whole.head()[0] == 500
    # A client that doesn't read holds the end up, for seconds.
    status, body = server.status("GET", "/health")
    assert status == 503 and body["status"] == "failed", body
    with Client(server.port) as late:
        status, headers = late.ask(SHORT).head()
        assert status == 503 and int(headers["retry-after"]) > 0
    assert server.process.wait(10) == 70
    assert "--no-auto-restart" in server.text() and "restarting" not in server.text()
    slow.fin()
    end(server, 70)


@needs_ptrace
def test_restarts_that_do_not_help_end(large):
    now = int(time.monotonic())
    old, late = f"{now - 5000},{now - 700}", f"{now - 300},{now - 200},{now - 1}"
    for times, code in (f"{old},{late}", 70), (old, None):
        server = watched("--weight-cache", "off", model=large, environment={"OCTET_RESTARTS": times})
        with Client(server.port).ask(long(stream=False)):
            wait_for(lambda: server.metrics()["vllm:num_requests_running"] == 1)
            freeze_engine(server)
            if code:
                assert server.process.wait(20) == code
                assert "the engine failed 4 times within 10 minutes" in server.text() and "--watchdog-timeout" in server.text()
                end(server, code)
            else:
                restarted(server, 2)
                server.wait_until_ready()
                assert server.metrics()["octet:watchdog_stalls_total"] == 3
                end(server)


@needs_ptrace
def test_a_signal_ends_the_new_life_while_it_loads(large):
    server = watched("--weight-cache", "off", model=large)
    with Client(server.port).ask(long(stream=False)):
        wait_for(lambda: server.metrics()["vllm:num_requests_running"] == 1)
        freeze_engine(server)
        wait_for(lambda: server.text().count("listening at") == 2)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0
    assert server.text().count("ready at") == 1 and "before the model was loaded" in server.text()
    end(server)


@needs_ptrace
def test_a_stuck_thread_may_hold_whatever_it_likes(large):
    """The engine's own thread, stopped anywhere: what its clients hear depends on the place, the restart does not."""
    server = watched("--weight-cache", "off", model=large)
    for life in 1, 2, 3:
        with Client(server.port).ask(long(stream=False)):
            wait_for(lambda: server.metrics()["vllm:generation_tokens_total"] > 0)
            freeze_engine(server, "octet-engine")
            restarted(server, life)
        server.wait_until_ready()
        assert server.post("/v1/chat/completions", SHORT)["usage"]["completion_tokens"] == 4
    end(server)


def test_a_process_that_was_stopped_did_not_hang():
    server = watched()
    with Client(server.port).ask(long(2000)) as client:
        assert client.head()[0] == 200
        next(client.chunks())
        for _ in range(3):
            server.process.send_signal(signal.SIGSTOP)
            time.sleep(SECONDS + 0.5)
            server.process.send_signal(signal.SIGCONT)
            time.sleep(0.3)
        got, done = events(b"data: {}\n\n" + b"".join(client.chunks()))
        assert done and got[-1]["choices"][0]["finish_reason"] == "length"
    assert "has failed" not in server.text()
    end(server)


@needs_ptrace
def test_sigterm_ends_a_server_whose_engine_hangs(large):
    server = Server("--watchdog-timeout", "0", "--shutdown-timeout", "1", "--served-model-name", "tiny", "--weight-cache", "off", model=large)
    with Client(server.port).ask(long()) as client:
        assert client.head()[0] == 200
        freeze_engine(server)
        time.sleep(SECONDS)
        server.process.send_signal(signal.SIGTERM)
        got, done = events(b"".join(client.chunks()))
        assert done and got[-1]["error"]["code"] == 503
        assert server.process.wait(30) == 70
    assert "the process ends without it" in server.text()
    end(server, 70)


# ---- sockets


@needs_ptrace
def test_a_unix_socket_stays_over_a_restart(tmp_path):
    path = str(tmp_path / "octet.sock")
    server = watched("--uds", path, wait=False)
    wait_for(lambda: "ready at" in server.text())

    class UnixClient(Client):
        def __init__(self):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(30)
            self.socket.connect(path)
            self.buffer = b""
    inode = os.stat(path).st_ino
    client = UnixClient().ask(long(stream=False))
    wait_for(lambda: not freeze.waits(server.process.pid, "octet-engine"))
    freeze_engine(server)
    assert client.head()[0] == 500
    wait_for(lambda: server.text().count("ready at") == 2)
    assert os.stat(path).st_ino == inode
    with UnixClient() as again:
        assert again.ask(SHORT).head()[0] == 200
    assert f"unix:{path}" in server.text()
    end(server)
    assert not os.path.exists(path)  # it is still the server's own


def activated(listener, *flags, count=1, pid="$$"):
    """A server as systemd starts it for a socket unit."""
    log = tempfile.NamedTemporaryFile("w+", suffix=".log")
    command = f'exec 3<&{listener.fileno()}; exec env LISTEN_PID={pid} LISTEN_FDS={count} LISTEN_FDNAMES=octet.socket "$@"'
    process = subprocess.Popen(["bash", "-c", command, "bash", OCTET, "serve", "tiny", "--threads", "2", "--watchdog-timeout", str(SECONDS), *flags],
                               pass_fds=[listener.fileno()], stderr=log, stdout=log)
    process.text = lambda: pathlib.Path(log.name).read_text()
    return process


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_sockets_of_systemd(family, tmp_path):
    listener = socket.socket(socket.AF_INET if family == "tcp" else socket.AF_UNIX)
    listener.bind(("127.0.0.1", 0) if family == "tcp" else str(tmp_path / "s"))
    listener.listen(16)

    def ask():
        c = socket.socket(listener.family)
        c.settimeout(60)
        c.connect(listener.getsockname())
        c.sendall(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return c

    def answer(c):
        data = b""
        while piece := c.recv(65536):
            data += piece
        return data
    first = ask()  # before there is a server
    process = activated(listener, "--port", str(free_port()))
    try:
        reply = answer(first)
        assert b" 200 OK" in reply or b"Loading model" in reply
        wait_for(lambda: "ready at" in process.text())
        assert b'"tiny"' in answer(ask())
        text = process.text()
        assert "--port has no effect: a listening socket was handed over" in text
        assert (f"ready at http://127.0.0.1:{listener.getsockname()[1]} " if family == "tcp" else f"ready at unix:{tmp_path / 's'} ") in text
        process.terminate()
        assert process.wait(20) == 0
        if family == "unix":
            assert os.path.exists(tmp_path / "s")
        between = ask()
        process = activated(listener)
        reply = answer(between)
        assert b" 200 OK" in reply or b"Loading model" in reply
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


def test_what_is_no_socket_for_us(tmp_path):
    with socket.socket() as listener, socket.socket() as deaf:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        process = activated(listener, count=2)
        assert process.wait(20) == 2 and "$LISTEN_FDS is 2: expected 1" in process.text()
        process = activated(deaf)
        assert process.wait(20) == 2 and "expected a stream socket that listens" in process.text()
        port = free_port()
        process = activated(listener, "--port", str(port), pid="1")
        try:
            wait_for(lambda: "ready at" in process.text())
            assert f"ready at http://127.0.0.1:{port} " in process.text()
        finally:
            process.terminate()
            assert process.wait(20) == 0
