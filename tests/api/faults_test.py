"""Clients that go away, dawdle or come in crowds: others don't notice, and everything is given back.
That an engine stands still shows only after a minute: tests/unit/cli/serve_watch_test.cpp."""
import concurrent.futures
import json
import multiprocessing
import os
import pathlib
import resource
import signal
import subprocess
import time

import pytest
from octet_server import OCTET, Server, free_port, wait_for
from raw_client import Client, events, frame

USER = [{"role": "user", "content": "Tell me a story."}]
# No end before so many tokens: a model that may only ignore its end would write it over and over, unseen.
ENDLESS = {"min_tokens": 15000, "max_tokens": 15000}
LONG = {"model": "tiny", "messages": USER, "stream": True, **ENDLESS}
SHORT = {"model": "tiny", "messages": USER, "max_tokens": 3}
HUGE_PROMPT = {"model": "tiny", "prompt": [100 + i % 3000 for i in range(16000)], "max_tokens": 8, "stream": True}
# Pages of answers are given back; what stays cached is not in use.
GAUGES = ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc", "octet:gdn_state_slots_used")


def gauges(server):
    metrics = server.metrics()
    return {name: metrics[name] for name in GAUGES}


def idle(server, seconds=20):
    """Nothing is held any more, in so many seconds."""
    wait_for(lambda: not any(gauges(server).values()), seconds)


def descriptors(server):
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def resident(server):
    text = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return int(next(x for x in text.splitlines() if x.startswith("VmRSS")).split()[1]) * 1024


@pytest.fixture(scope="module")
def server():
    """One place, small steps: requests queue up, and long prompts take long."""
    with Server("--max-num-seqs", "1", "--max-num-batched-tokens", "32", "--max-queued-requests", "2", "--no-enable-prefix-caching") as s:
        yield s


# ---- going away


@pytest.mark.parametrize("way", ["fin", "rst"])
@pytest.mark.parametrize("stream", [True, False])
def test_going_while_waiting_for_a_place(server, way, stream):
    first = Client(server.port).ask(LONG)
    assert first.head()[0] == 200
    next(first.chunks())
    waiting = [Client(server.port).ask({**SHORT, "stream": stream}) for _ in range(2)]
    wait_for(lambda: gauges(server)["vllm:num_requests_waiting"] == 2)
    for client in waiting:
        getattr(client, way)()
    wait_for(lambda: gauges(server)["vllm:num_requests_waiting"] == 0)
    assert gauges(server)["vllm:num_requests_running"] == 1
    next(first.chunks())  # the one that runs is not disturbed
    getattr(first, way)()
    idle(server)


@pytest.mark.parametrize("way", ["fin", "rst"])
@pytest.mark.parametrize("stream", [True, False])
def test_going_during_a_long_prompt(server, way, stream):
    before = server.metrics()
    client = Client(server.port).ask({**HUGE_PROMPT, "stream": stream}, "/v1/completions")
    wait_for(lambda: gauges(server)["vllm:num_requests_running"] == 1)
    getattr(client, way)()
    idle(server)
    assert server.metrics()["vllm:generation_tokens_total"] == before["vllm:generation_tokens_total"], "the prompt was taken in to its end"


@pytest.mark.parametrize("way", ["fin", "rst"])
@pytest.mark.parametrize("path,body", [
    ("/v1/chat/completions", LONG), ("/v1/completions", {"model": "tiny", "prompt": "Once", "stream": True, **ENDLESS}),
    ("/v1/responses", {"model": "tiny", "input": "Hi", "stream": True, "max_output_tokens": 15000, "min_tokens": 15000}),
    ("/v1/messages", {"model": "claude-x", "messages": USER, "stream": True, **ENDLESS})])
def test_going_while_an_answer_streams(server, way, path, body):
    client = Client(server.port).ask(body, path)
    assert client.head()[0] == 200
    chunks = client.chunks()
    for _ in range(5):
        next(chunks)
    assert gauges(server)["vllm:num_requests_running"] == 1
    getattr(client, way)()
    idle(server)


@pytest.mark.parametrize("way", ["fin", "rst"])
def test_going_without_reading_anything(server, way):
    for delay in 0, 0.005, 0.05:
        client = Client(server.port).ask({**LONG, "stream": False})
        time.sleep(delay)
        getattr(client, way)()
        idle(server)
    # Answers of a whole list of prompts, of which the one place has one.
    client = Client(server.port).ask({"model": "tiny", "prompt": ["a", "b"], **ENDLESS}, "/v1/completions")
    wait_for(lambda: gauges(server)["vllm:num_requests_running"] == 1)
    getattr(client, way)()
    idle(server)


def test_half_a_request_and_gone(server):
    before = descriptors(server)
    whole = frame(SHORT)
    for cut in 1, 10, whole.index(b"\r\n\r\n") + 2, whole.index(b"\r\n\r\n") + 4, len(whole) - 1:
        for way in "fin", "rst":
            getattr(Client(server.port).send(whole[:cut]), way)()
    wait_for(lambda: descriptors(server) <= before)
    idle(server)


# ---- too many


def test_a_full_queue_refuses_with_retry_after(server):
    running = Client(server.port).ask(LONG)
    assert running.head()[0] == 200
    next(running.chunks())
    waiting = [Client(server.port).ask(SHORT) for _ in range(2)]
    wait_for(lambda: gauges(server)["vllm:num_requests_waiting"] == 2)
    for path, body in ("/v1/chat/completions", SHORT), ("/v1/chat/completions", {**SHORT, "stream": True}), \
            ("/v1/messages", {**SHORT, "model": "claude-x"}), ("/v1/responses", {"model": "tiny", "input": "x"}), \
            ("/v1/completions", {"model": "tiny", "prompt": "x"}):
        with Client(server.port) as client:
            status, headers = client.ask(body, path).head()
            assert status == 503 and int(headers["retry-after"]) > 0, (path, status, headers)
            error = json.loads(client.body())
            assert error["error"]["type"] in ("unavailable_error", "overloaded_error"), error
    running.fin()
    for client in waiting:  # they were not forgotten
        assert client.head()[0] == 200
        assert json.loads(client.body())["usage"]["completion_tokens"] == 3
    idle(server)


def test_waiting_too_long_is_refused():
    with Server("--max-num-seqs", "1", "--queue-timeout", "0.5") as server:
        running = Client(server.port).ask(LONG)
        assert running.head()[0] == 200
        next(running.chunks())
        whole, stream = Client(server.port).ask(SHORT), Client(server.port).ask({**SHORT, "stream": True})
        status, headers = whole.head()
        message = json.loads(whole.body())["error"]["message"]
        assert status == 503 and "retry-after" in headers and "0.5 seconds" in message
        status, _ = stream.head()
        if status == 200:
            got, done = events(b"".join(stream.chunks()))
            assert done and got[-1]["error"]["code"] == 503
        else:
            assert status == 503
        next(running.chunks())
        running.fin()
        idle(server)


def test_what_can_never_fit_is_refused_at_once_vllm_35541():
    """A prompt that fits the model's length, but not the memory for keys and values, waited for ever elsewhere."""
    with Server("--kv-cache-memory-bytes", "2MB", "--max-num-seqs", "2") as server:
        room = server.get("/v1/models")["data"][0]["max_model_len"]
        assert 256 <= room < 16384  # lowered to what fits, and told
        assert "the context is" in server.text()
        status, body = server.status("POST", "/v1/completions", json.dumps({"model": "tiny", "prompt": [5] * (room + 1), "max_tokens": 1}).encode())
        error = body["error"]
        assert status == 400 and f"maximum context length is {room} tokens" in error["message"]
        assert error["n_ctx"] == room and error["n_prompt_tokens"] == room + 1
        # The longest that fits is answered, twice at once, too.
        body = {"model": "tiny", "prompt": [5] * (room - 4), "max_tokens": 4, "ignore_eos": True}
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda _: server.post("/v1/completions", body), range(2)))
        assert [a["usage"]["completion_tokens"] for a in answers] == [4, 4]
        idle(server)


# ---- slow


def read_stream(port, started, out):
    """A client process: reads a little of a long stream, then all of it."""
    client = Client(port, receive_buffer=4096).ask({**LONG, "min_tokens": 6000, "max_tokens": 6000, "logprobs": True, "top_logprobs": 20})
    assert client.head()[0] == 200
    chunks = client.chunks(512)
    first = next(chunks)
    started.set()
    got, done = events(first + b"".join(chunks))
    out.put((done, sum(len(e["choices"][0]["logprobs"]["content"]) for e in got if e["choices"] and e["choices"][0]["logprobs"]),
             got[-1]["choices"][0]["finish_reason"]))


def test_a_stopped_client_holds_up_nobody():
    with Server("--max-num-seqs", "2") as server:
        context = multiprocessing.get_context("fork")
        started, out = context.Event(), context.Queue()
        child = context.Process(target=read_stream, args=(server.port, started, out))
        child.start()
        try:
            assert started.wait(30)
            os.kill(child.pid, signal.SIGSTOP)
            # Its queue fills and its answer pauses: no more tokens come.
            tokens = []

            def stalled():
                tokens.append(server.metrics()["vllm:generation_tokens_total"])
                time.sleep(0.15)
                return len(tokens) > 3 and tokens[-1] == tokens[-4]
            wait_for(stalled, 30)
            assert tokens[-1] < 6000, "nothing held it up: the test needs a longer answer"
            for _ in range(3):
                assert server.post("/v1/chat/completions", SHORT)["usage"]["completion_tokens"] == 3
            # Two others take both places meanwhile.
            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                assert all(a["usage"]["completion_tokens"] == 300 for a in pool.map(
                    lambda _: server.post("/v1/chat/completions", {**LONG, "stream": False, "min_tokens": 300, "max_tokens": 300}), range(2)))
            os.kill(child.pid, signal.SIGCONT)
            assert out.get(timeout=40) == (True, 6000, "length")
            child.join(10)
        finally:
            child.kill()
            child.join()
        idle(server)


def test_one_byte_at_a_time(server):
    """Of the head, of the body, and of the answer."""
    client = Client(server.port, receive_buffer=2048)
    data = frame({**LONG, "min_tokens": 40, "max_tokens": 40})
    for i in range(0, 400):
        client.send(data[i:i + 1])
    client.send(data[400:])
    while b"\r\n\r\n" not in client.buffer:
        client._more(1)
    assert client.head()[0] == 200
    got, done = events(b"".join(client.chunks(1)))
    assert done and got[-1]["choices"][0]["finish_reason"] == "length"
    idle(server)


def test_heads_and_bodies_that_stop_coming_end(server):
    """Slow loris. The limits have no flags: 10 s for a head, 30 s between pieces of a body (whose end
    is HttpLimitsTest.ABodyMayBeSlowButNotStop's, with a shorter limit)."""
    clients = [Client(server.port, timeout=60).send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nX: ") for _ in range(50)]
    silent = [Client(server.port, timeout=60) for _ in range(50)]
    body = Client(server.port).send(frame(SHORT)[:-5])
    begin = time.monotonic()
    # One that trickles: each byte is progress, and none of it counts.
    trickle = clients[0]
    while time.monotonic() - begin < 9:
        trickle.send(b"a")
        assert server.post("/v1/chat/completions", SHORT)["usage"]["completion_tokens"] == 3
        time.sleep(0.5)
    for client in clients:
        assert client.head()[0] == 408
        assert client.closed()
    for client in silent:
        assert client.closed()
    assert time.monotonic() - begin > 8  # not at once, either
    assert body.send(frame(SHORT)[-5:]).head()[0] == 200


# ---- crowds


def test_a_thousand_idle_connections(server):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 2048)), hard))
    before = descriptors(server)
    memory = resident(server)
    clients = [Client(server.port) for _ in range(1000)]
    wait_for(lambda: descriptors(server) >= len(clients))  # not beside `before`: some that it counts may be on their way out
    for _ in range(5):
        assert server.post("/v1/chat/completions", SHORT)["usage"]["completion_tokens"] == 3
    for client in clients[::100]:
        client.ask(SHORT)
    # More than the queue holds is told so; nobody hangs.
    assert {client.head()[0] for client in clients[::100]} <= {200, 503}
    assert resident(server) - memory < 64 << 20
    for client in clients:
        client.fin()
    wait_for(lambda: descriptors(server) <= before + 2)
    idle(server)


def test_few_descriptors():
    """The system allows fewer connections than the server would: some are refused, and it recovers."""
    port = free_port()
    process = subprocess.Popen(["bash", "-c", f"ulimit -n 200 && exec {OCTET} serve tiny --threads 2 --port {port}"], stderr=subprocess.PIPE, text=True)
    try:
        while "ready at" not in process.stderr.readline():
            pass
        old = Client(port)
        assert old.ask(SHORT).head()[0] == 200
        old.body()
        crowd = [Client(port) for _ in range(400)]
        # Who is in is served; who is not is told, and does not hang until others go.
        assert old.ask(SHORT).head()[0] == 200
        old.body()
        with Client(port, timeout=8) as late:
            assert late.head()[0] == 503 and "retry-after" in late.headers
        for client in crowd:
            client.fin()

        def served():
            try:
                with Client(port) as client:
                    return client.ask(SHORT).head()[0] == 200
            except (EOFError, OSError):
                return False
        wait_for(served)
    finally:
        process.terminate()
        process.stderr.close()
        assert process.wait(40) == 0


def test_memory_stays_flat():
    # Caches so small that they are full after the first requests.
    with Server("--max-num-seqs", "4", "--max-model-len", "1024", "--snapshot-slots", "4") as server:
        connections = [Client(server.port) for _ in range(4)]

        def ask(client, numbers):
            for n in numbers:
                body = {**SHORT, "messages": [{"role": "user", "content": f"Number {n}: " + "word " * (n % 50)}], "stream": n % 2 == 0}
                assert client.ask(body).head()[0] == 200
                client.body()

        def batch(begin, end):
            with concurrent.futures.ThreadPoolExecutor(len(connections)) as pool:
                list(pool.map(ask, connections, [range(begin + i, end, len(connections)) for i in range(len(connections))]))
        batch(0, 500)
        warm, files = resident(server), descriptors(server)
        batch(500, 2500)
        assert resident(server) - warm < 8 << 20, (warm, resident(server))
        assert descriptors(server) <= files
        idle(server)
