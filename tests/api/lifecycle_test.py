"""How the server starts, is told things by signals, and ends; what it logs."""
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
import time

import checkpoints
import httpx
import openai
import pytest
from octet_server import OCTET, Server, free_port, wait_for
from raw_client import Client, events, insecure

USER = [{"role": "user", "content": "Tell me a story."}]


def long(tokens=15000, **more):
    """An answer that doesn't end before so many tokens."""
    return {"model": "tiny", "messages": USER, "stream": True, "min_tokens": tokens, "max_tokens": tokens, **more}


SHORT = {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
CARD = ["--tensor-parallel-size", "4", "--gpu-memory-utilization", "0.95", "--max-model-len", "262144", "--dtype", "float16",
        "--skip-mm-profiling", "--limit-mm-per-prompt", '{"image":2}']


def run(*arguments, environment=None):
    return subprocess.run([OCTET, "serve", *arguments], capture_output=True, text=True, timeout=60,
                          env={**os.environ, **(environment or {})})


def exit_code(server, seconds=30):
    return server.process.wait(seconds)


# ---- start


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return str(checkpoints.stacked(tmp_path_factory.mktemp("models") / "large", 6))


def test_the_port_is_open_while_the_model_loads(large):
    with Server("--weight-cache", "off", "--served-model-name", "tiny", model=large, wait=False) as server:
        seen = []

        def health():
            try:
                seen.append((*server.status("GET", "/health"), time.monotonic()))
            except OSError:
                return False
            return seen[-1][0] == 200 or seen[-1][1]["progress"] > 0
        wait_for(health)
        status, body, _ = seen[0]
        assert status == 503 and body["status"] == "loading" and 0 <= body["progress"] < 1, body
        assert body["error"]["message"] == "Loading model"
        # What needs the model says when to come again, in each dialect.
        with Client(server.port) as client:
            status, headers = client.ask(SHORT).head()
            loading = status == 503
            assert loading and int(headers["retry-after"]) > 0
            assert json.loads(client.body())["error"]["type"] == "unavailable_error"
            status, headers = client.ask({**SHORT, "model": "claude-x"}, "/v1/messages").head()
            assert status == 503 and json.loads(client.body())["type"] == "error"
        assert server.status("GET", "/v1/models")[0] == 503
        assert server.status("GET", "/health/live")[0] == 200
        server.wait_until_ready()
        progress = [body["progress"] for status, body, _ in seen if status == 503]
        assert progress == sorted(progress)
        assert server.status("POST", "/v1/chat/completions", json.dumps(SHORT).encode())[0] == 200


def test_a_signal_while_the_model_loads_ends_it(large):
    server = Server("--weight-cache", "off", model=large, wait=False)
    wait_for(lambda: "listening at" in server.text())
    assert server.stop(10) == 0, server.text()
    assert "ready at" not in server.text() and "before the model was loaded" in server.text()
    os.unlink(server.log.name)


def test_what_it_says_when_it_is_ready(tmp_path):
    with Server("--served-model-name", "one", "two/three", "--max-model-len", "2048", "--max-num-seqs", "3") as server:
        text = server.text()
        assert f"ready at {server.url}" in text
        assert re.search(r"models +one, two/three\n", text)
        assert re.search(r"context +2048 tokens\n", text)
        assert re.search(r"capacity +6144 tokens of KV cache, 3 sequences at once, 3 at full length\n", text)
        for line in "weights", "KV cache", "recurrent states", "prefix snapshots", "workspace", "needed", "allowed":
            assert re.search(rf"^  {line} +[\d.]+ [kMG]?B", text, re.M), line
        assert f"OPENAI_BASE_URL={server.url}/v1" in text
        # The line to copy works.
        command = re.search(r"^  (curl .*\n.*)$", text, re.M).group(1).replace("\\\n", "")
        answer = json.loads(subprocess.run(["bash", "-c", command + " -sS"], capture_output=True, text=True, timeout=60, check=True).stdout)
        assert answer["model"] == "one"
        for name in "one", "two/three":
            assert server.get(f"/v1/models/{name}")["id"] == name
            assert server.post("/v1/chat/completions", {**SHORT, "model": name})["model"] == name
        assert server.status("POST", "/v1/chat/completions", json.dumps(SHORT).encode())[0] == 404
        assert server.post("/v1/messages", {**SHORT, "model": "claude-sonnet"})["type"] == "message"


def test_machines_read_every_line_of_the_log(tmp_path, large):
    with Server("--log-format", "json", "--served-model-name", "one", "two", "--max-model-len", "2048", "--max-num-seqs", "3", "--swap-space", "4",
                "--host", "0.0.0.0", "--weight-cache", str(tmp_path), "--hf-overrides", '{"misspelt": 1}', model=large) as server:
        server.post("/v1/chat/completions", {**SHORT, "model": "one"})
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "read again" in server.text())
        server.process.send_signal(signal.SIGTERM)
        assert exit_code(server) == 0
        lines = [json.loads(x) for x in server.text().splitlines()]
    for line in lines:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"]) and line["message"] and line["level"] in ("INFO", "WARNING"), line
    by_message = {line["message"]: line for line in lines}
    ready = by_message[f"ready at http://0.0.0.0:{server.port}"]
    assert ready["url"] == f"http://0.0.0.0:{server.port}" and ready["models"] == "one, two"
    assert (ready["context"], ready["kv_tokens"], ready["sequences"], ready["full_length"]) == (2048, 6144, 3, 3) and ready["seconds"] > 0
    memory = by_message["memory in bytes"]
    parts = [memory[x] for x in ("weights", "kv_cache", "recurrent_states", "prefix_snapshots", "workspace")]
    assert sum(parts) == memory["needed"] <= memory["allowed"] and min(parts) > 0
    assert by_message["--hf-overrides: misspelt: octet reads no such key"]["level"] == "WARNING"
    assert by_message["accepted, no effect: --swap-space 4 (nothing is swapped; a paused answer is computed again)"]["level"] == "INFO"
    assert any(x["level"] == "WARNING" and x["message"].startswith("listening on 0.0.0.0 without an API key") for x in lines)
    assert "shutting down" in lines[-1]["message"]


def test_any_model_name():
    with Server("--any-model-name", "--anthropic-model-alias", "mine*") as server:
        assert server.post("/v1/chat/completions", {**SHORT, "model": "gpt-4o"})["model"] == "gpt-4o"
        assert server.post("/v1/messages", {**SHORT, "model": "mine-1"})["model"] == "mine-1"


# ---- exit codes


def test_exit_codes(tmp_path):
    def fails(code, *arguments, says):
        result = run(*arguments)
        assert result.returncode == code, result
        assert says in result.stderr, result.stderr
        assert "ready at" not in result.stderr
        return result.stderr
    fails(2, "tiny", "--max-modle-len", "5", says="--max-model-len")
    fails(2, "tiny", "--port", "99999", says="--port")
    fails(2, "tiny", "--api-key-file", "/dev/null", "--port", "0", says="key")
    fails(2, "tiny", "--middleware", "x", says="no code is loaded")
    fails(3, "no-such-model", says="no-such-model")
    fails(3, str(tmp_path), says="config.json")
    broken = checkpoints.copy(tmp_path / "broken", files={"config.json": "{"})
    fails(3, str(broken), says="config.json")
    cut = checkpoints.copy(tmp_path / "cut")
    shard = cut / "model-00001-of-00002.safetensors"
    data = shard.read_bytes()
    shard.unlink()
    shard.write_bytes(data[:1000])
    fails(3, str(cut), "--port", "0", says="model-00001-of-00002.safetensors")

    text = fails(4, "tiny", "--port", "0", "--max-memory", "120MB", "--max-model-len", "16384", says="does not fit")
    for line in "weights", "KV cache", "recurrent states", "workspace", "needed", "allowed":
        assert re.search(rf"^  {line} +[\d.]+ [kMG]?B", text, re.M), text
    fitting = re.search(r"--max-model-len (\d+) would fit", text).group(1)
    with Server("--max-memory", "120MB", "--max-model-len", fitting) as server:
        assert server.get("/v1/models")["data"][0]["max_model_len"] == int(fitting)
        fails(5, "tiny", "--port", str(server.port), says=str(server.port))
    fails(4, "tiny", "--port", "0", "--max-memory", "10MB", says="--max-num-seqs")

    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(path)
        s.listen()
        fails(5, "tiny", "--uds", path, says=path)
        assert os.path.exists(path)


# ---- signals


def test_sigterm_lets_answers_end():
    server = Server("--shutdown-timeout", "25")
    clients = [Client(server.port).ask(long(600)) for _ in range(3)]
    whole = Client(server.port).ask(long(400, stream=False))
    idle = Client(server.port)
    assert [c.head()[0] for c in clients] == [200] * 3
    wait_for(lambda: server.metrics()["vllm:num_requests_running"] == 4)
    server.process.send_signal(signal.SIGTERM)
    wait_for(lambda: server.status("GET", "/health")[0] == 503)
    status, body = server.status("GET", "/health")
    assert body["status"] == "draining" and status == 503
    assert server.status("GET", "/health/live")[0] == 200
    for client in idle, Client(server.port):  # connections from before and after
        status, headers = client.ask(SHORT).head()
        assert status == 503 and int(headers["retry-after"]) > 0
        assert "shutting down" in json.loads(client.body())["error"]["message"]
    for client in clients:
        got, done = events(b"".join(client.chunks()))
        assert done and got[-1]["choices"][0]["finish_reason"] == "length"
    assert whole.head()[0] == 200 and json.loads(whole.body())["usage"]["completion_tokens"] == 400
    assert exit_code(server) == 0
    assert "shutting down" in server.text() and "the time is up" not in server.text()
    server.stop()
    os.unlink(server.log.name)


def test_at_the_deadline_streams_end_with_an_error():
    server = Server("--shutdown-timeout", "1", "--max-num-seqs", "4")
    chat = Client(server.port).ask(long())
    message = Client(server.port).ask(long(model="claude-x"), "/v1/messages")
    response = Client(server.port).ask({"model": "tiny", "input": "Tell me a story.", "stream": True, "min_tokens": 15000, "max_output_tokens": 15000}, "/v1/responses")
    whole = Client(server.port).ask(long(stream=False))
    wait_for(lambda: server.metrics()["vllm:num_requests_running"] == 4)
    queued = Client(server.port).ask(long(stream=False))
    for client in chat, message, response:
        assert client.head()[0] == 200
        next(client.chunks())
    wait_for(lambda: server.metrics()["vllm:num_requests_waiting"] == 1)
    server.process.send_signal(signal.SIGTERM)
    begin = time.monotonic()
    got, done = events(b"".join(chat.chunks()))
    assert done and got[-1]["error"]["code"] == 503 and "error" not in got[-2]
    assert time.monotonic() - begin > 0.8
    text = b"".join(message.chunks()).decode()
    assert "event: error\n" in text and '"type": "error"' in text and "message_stop" not in text
    text = b"".join(response.chunks()).decode()
    assert "event: response.failed" in text and "response.completed" not in text
    for client in whole, queued:
        status, headers = client.head()
        assert status == 503 and "retry-after" in headers and "error" in json.loads(client.body())
    assert exit_code(server) == 0
    assert "the time is up" in server.text()
    os.unlink(server.log.name)


def test_the_second_signal_ends_it_at_once():
    server = Server("--shutdown-timeout", "60")
    client = Client(server.port).ask(long())
    assert client.head()[0] == 200
    server.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "shutting down" in server.text())
    server.process.send_signal(signal.SIGINT)
    assert exit_code(server, 2) == -signal.SIGINT
    os.unlink(server.log.name)


def certificate(folder, name):
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                    "-keyout", f"{key}.new", "-out", f"{cert}.new"], check=True, capture_output=True, timeout=60)
    os.replace(f"{key}.new", key)
    os.replace(f"{cert}.new", cert)
    return key, cert


def shown_certificate(port):
    with socket.create_connection(("127.0.0.1", port), 10) as s, insecure().wrap_socket(s) as tls:
        return tls.getpeercert(True)


def secure_server(folder, *flags):
    key, cert = certificate(folder, "first")
    server = Server("--ssl-keyfile", str(key), "--ssl-certfile", str(cert), *flags, wait=False)
    server.url = server.url.replace("http:", "https:")
    wait_for(lambda: "ready at" in server.text() or server.process.poll() is not None)
    assert server.process.poll() is None, server.text()
    return server


def test_sighup_reads_keys_and_certificates_again(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("# team\nold\n")
    with secure_server(tmp_path, "--api-key-file", str(keys), "--host", "127.0.0.1") as server:
        def knows(key):
            with httpx.Client(verify=False) as client:
                return client.get(f"{server.url}/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code == 200
        before = shown_certificate(server.port)
        assert knows("old") and not knows("new") and not knows("# team")
        # A bad file changes nothing.
        keys.write_text("\n")
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "the old ones stay" in server.text())
        assert knows("old") and not knows("#")
        keys.write_text("new\n")
        certificate(tmp_path, "second")
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "read again" in server.text())
        assert knows("new") and not knows("old")
        assert shown_certificate(server.port) != before


def test_tls_with_openais_client_and_refresh(tmp_path):
    with secure_server(tmp_path, "--enable-ssl-refresh", "--host", "127.0.0.1") as server:
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", http_client=httpx.Client(verify=False)) as client:
            answer = client.chat.completions.create(**SHORT)
            assert answer.usage.completion_tokens == 4
            text = [c.choices[0].delta for c in client.chat.completions.create(**SHORT, stream=True)]
            assert len(text) > 1
        first = shown_certificate(server.port)
        certificate(tmp_path, "second")
        wait_for(lambda: shown_certificate(server.port) != first, 10)
        # Who doesn't speak TLS gets nothing, and hurts nobody.
        with Client(server.port) as plain:
            try:
                plain.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").closed()
            except OSError:
                pass
        with pytest.raises(ssl.SSLError), socket.create_connection(("127.0.0.1", server.port), 10) as s:
            ssl.create_default_context().wrap_socket(s, server_hostname="localhost")
        (tmp_path / "cert.pem").write_text("no certificate")
        wait_for(lambda: "the old certificate stays" in server.text(), 10)
        assert shown_certificate(server.port)


def test_sigpipe_and_a_log_that_nobody_reads():
    port = free_port()
    process = subprocess.Popen([OCTET, "serve", "tiny", "--port", str(port), "--threads", "2"], stderr=subprocess.PIPE, text=True)
    try:
        while "ready at" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGPIPE)
        process.stderr.close()
        for _ in range(3):
            with Client(port) as client:
                assert client.ask(SHORT).head()[0] == 200
                client.body()
                client.ask({**SHORT, "temperature": 9}).head()
                client.body()
        assert process.poll() is None
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


# ---- where it listens and how it is told


def test_unix_socket(tmp_path):
    path = str(tmp_path / "octet.sock")
    server = Server("--uds", path, wait=False)
    try:
        wait_for(lambda: "ready at" in server.text())
        assert f"unix:{path}" in server.text()
        with openai.OpenAI(base_url="http://localhost/v1", api_key="none", http_client=httpx.Client(transport=httpx.HTTPTransport(uds=path))) as client:
            assert client.models.list().data[0].id == "tiny"
            assert client.chat.completions.create(**SHORT).usage.completion_tokens == 4
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", server.port), 2)
        server.process.kill()  # leaves the file; the next one takes it over
        server.process.wait()
        assert os.path.exists(path)
        server = Server("--uds", path, wait=False)
        wait_for(lambda: "ready at" in server.text())
        assert server.stop() == 0
        assert not os.path.exists(path)
    finally:
        server.process.kill()


def test_sources_of_flags_end_to_end(tmp_path):
    file = tmp_path / "octet.yaml"
    file.write_text("max-model-len: 1k\nmax-num-seqs: 5\nserved-model-name: [from-file]\n")
    environment = {"OCTET_MAX_MODEL_LEN": "512", "OCTET_MAX_NUM_SEQS": "7", "OCTET_TIMINGS": "1", "VLLM_API_KEY": "secret-key"}
    flags = ["--config", str(file), "--max-model-len", "2048", "--host", "127.0.0.1"]
    shown = run("tiny", *flags, "--print-config", environment=environment)
    assert shown.returncode == 0 and "secret-key" not in shown.stdout + shown.stderr
    line = {name: next(x for x in shown.stdout.splitlines() if x.startswith(name + ":")) for name in ("max-model-len", "max-num-seqs", "timings")}
    assert "2048" in line["max-model-len"] and "command line" in line["max-model-len"]
    assert "5" in line["max-num-seqs"] and "octet.yaml" in line["max-num-seqs"]
    assert "true" in line["timings"] and "OCTET_TIMINGS" in line["timings"]
    # What is printed is a file that says the same, the key apart.
    again = tmp_path / "again.yaml"
    again.write_text(shown.stdout)
    key = {"Authorization": "Bearer secret-key"}
    for arguments in flags, ["--config", str(again)]:
        server = Server(*arguments, environment={**environment, "OCTET_MAX_NUM_SEQS": "9"})
        with server:
            assert "5 sequences at once" in server.text()
            model = server.get("/v1/models", key)["data"][0]
            assert model["id"] == "from-file" and model["max_model_len"] == 2048
            assert server.status("GET", "/v1/models")[0] == 401
            assert "timings" in server.post("/v1/chat/completions", {**SHORT, "model": "from-file"}, key)


def test_the_cards_command_line(tmp_path):
    # The card's model has this context; with a smaller one vLLM refuses, too.
    result = run("tiny", *CARD, "--port", "0")
    assert result.returncode == 2 and "VLLM_ALLOW_LONG_MAX_MODEL_LEN=1" in result.stderr and "16384" in result.stderr
    model = checkpoints.copy(tmp_path / "Qwen3.6-27B-GPTQ-8bit", config={"max_position_embeddings": 262144})
    with Server(*CARD, model=str(model)) as server:
        entry = server.get("/v1/models")["data"][0]
        assert entry["id"] == str(model) and entry["max_model_len"] == 262144
        text = server.text()
        for name in "--tensor-parallel-size 4", "--dtype float16", "--skip-mm-profiling":
            assert f"accepted, no effect: {name}" in text
        assert "--gpu-memory-utilization" not in text  # it has an effect
        assert server.post("/v1/chat/completions", {**SHORT, "model": str(model)})["usage"]["completion_tokens"] == 4
    with Server("--max-model-len", "20000", "--max-num-seqs", "1", environment={"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"}) as server:
        assert server.get("/v1/models")["data"][0]["max_model_len"] == 20000


# ---- logs


SECRET = "xyzzy-plugh-secret"
HOSTILE = "evil\x1b[31m\r\nfake line\x9b\u202e"


@pytest.mark.parametrize("form", ["text", "json"])
def test_logs(form):
    with Server("--log-format", form, "--enable-log-requests", "--enable-log-outputs", "--uvicorn-log-level", "debug", "--disable-access-log-for-endpoints", "/metrics,/ping") as server:
        body = {**SHORT, "messages": [{"role": "user", "content": SECRET}]}
        server.post("/v1/chat/completions", body, {"X-Request-Id": "my-id-1"})
        server.get("/ping")
        server.metrics()
        status, answer = server.status("POST", "/v1/chat/completions", json.dumps({**body, "model": HOSTILE}).encode())
        assert status == 404
        with Client(server.port) as client:  # headers can't hold line breaks, but other bytes
            client.send(b"GET /no\x1b[2Jsuch%0d%0afake HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: a\x1b[31mb\r\n\r\n")
            client.head()
        with Client(server.port) as client:
            client.send(b"GET /v1/models%0a%1b%5B31mfake?" + SECRET.encode() + b" HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: c\xc2\x9bd\r\n\r\n")
            client.head()
        wait_for(lambda: len([x for x in server.text().splitlines() if "/no" in x or "/v1/models" in x]) >= 1)
        time.sleep(0.2)
        text = server.text()
        assert SECRET not in text
        assert "accepted, no effect: --enable-log-outputs (prompts and answers are never logged)" in text
        assert re.search(r"answering.*chatcmpl-my-id-1.*prompt_tokens\W+[1-9]", text)
        after = text.split("ready at")[1].splitlines()
        lines = [x for x in after if "request" in x and "remote" in x]
        assert all(x.isprintable() for x in lines), [x for x in lines if not x.isprintable()]
        assert not any(x.startswith("fake") for x in after)
        assert not any('"/metrics"' in x or "path=/metrics" in x or "/ping" in x for x in lines)
        if form == "json":
            records = [json.loads(x) for x in lines]
            record = next(r for r in records if r["request_id"] == "my-id-1")
            assert record["method"] == "POST" and record["path"] == "/v1/chat/completions" and record["status"] == 200
            assert record["ms"] > 0 and record["bytes_out"] > 100 and record["level"] == "INFO"
        else:
            line = next(x for x in lines if "request_id=my-id-1" in x)
            assert " INFO request remote=127.0.0.1:" in line and "status=200" in line


def test_a_line_of_rates_while_it_works():
    with Server("--max-num-batched-tokens", "64", "--uvicorn-log-level", "info") as server:
        stop = threading.Event()

        def work():
            while not stop.is_set():
                server.post("/v1/chat/completions", long(200, stream=False))
        thread = threading.Thread(target=work)
        thread.start()
        try:
            line = wait_for(lambda: re.search(r"^\S+ INFO ([\d.]+) prompt tokens/s, ([\d.]+) generated tokens/s, (\d+) running, (\d+) waiting, "
                                              r"KV cache ([\d.]+) % used, prefix cache ([\d.]+) % hits$", server.text(), re.M), 25)
        finally:
            stop.set()
            thread.join()
        assert float(line.group(2)) > 1
