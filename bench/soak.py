"""What bench/soak does; see there."""
import argparse
import asyncio
import json
import os
import random
import shlex
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

SMALL = "--max-num-seqs 8 --max-model-len 2048 --snapshot-slots 16 --disable-uvicorn-access-log"
WORDS = "the red fox runs over a hill and sees seven small birds in old trees near water while Anna and Tom count them".split()
TOOLS = [{"type": "function", "function": {"name": name, "description": f"{name} of a place", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]}}}
    for name in ("get_weather", "get_time", "get_news")]


class Broken(Exception):
    """The server did what it must not do."""


def text_of(dice, words):
    return " ".join(dice.choice(WORDS) for _ in range(words))


def schema(number):
    return {"type": "object", "properties": {f"key{number % 8}": {"type": "string", "maxLength": 8 + number % 5}, "n": {"type": "integer", "minimum": 0, "maximum": 9 + number}},
            "required": ["n"], "additionalProperties": False}


# ---- requests: (path, body, checks of a whole answer)


def chat(dice):
    thinking = dice.random() < 0.3
    body = {"messages": [{"role": "system", "content": "You are a patient teacher. " * dice.choice([1, 12, 40])}, {"role": "user", "content": text_of(dice, dice.choice([3, 10, 150]))}],
            "max_tokens": dice.choice([1, 16, 64]), "temperature": dice.choice([0, 1]), "seed": dice.randrange(4), "chat_template_kwargs": {"enable_thinking": thinking}}
    kind = dice.randrange(6)
    if kind == 0:
        body.update(tools=TOOLS, tool_choice=dice.choice(["auto", "required", {"type": "function", "function": {"name": "get_time"}}]))
    elif kind == 1:
        body.update(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema(dice.randrange(48))}}, chat_template_kwargs={"enable_thinking": False}, max_tokens=200)
    elif kind == 2:
        body.update(logprobs=True, top_logprobs=dice.randrange(6))
    elif kind == 3:
        body.update(n=dice.randrange(1, 4), temperature=1)
    elif kind == 4:
        body.update(structured_outputs={"regex": "[a-z ]{3,30}"}, stop=["zz", " q"])
    return "/v1/chat/completions", body


def completion(dice):
    return "/v1/completions", {"prompt": text_of(dice, 20) if dice.random() < 0.7 else [text_of(dice, 5), text_of(dice, 30)], "max_tokens": dice.choice([1, 24]),
                               "temperature": dice.choice([0, 1]), "seed": 1, "echo": dice.random() < 0.2, "logprobs": dice.choice([None, 2])}


def message(dice):
    body = {"model": "claude-soak", "max_tokens": dice.choice([2, 40]), "messages": [{"role": "user", "content": text_of(dice, 12)}]}
    if dice.random() < 0.4:
        body["tools"] = [{"name": t["function"]["name"], "input_schema": t["function"]["parameters"]} for t in TOOLS]
        body["messages"] += [{"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "get_time", "input": {"city": "Bonn"}}]},
                             {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "noon"}]}]
    return "/v1/messages", body


def response(dice):
    body = {"input": text_of(dice, 9), "max_output_tokens": dice.choice([2, 40]), "instructions": "Be brief."}
    if dice.random() < 0.3:
        body["tools"] = [{"type": "function", **t["function"]} for t in TOOLS]
    return "/v1/responses", body


KINDS = {"/v1/chat/completions": "chat", "/v1/completions": "text", "/v1/messages": "message", "/v1/responses": "response"}
REQUESTS = [chat, chat, chat, completion, message, response]
WRONG = [("/v1/chat/completions", {"messages": 5}), ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "temperature": 9}),
         ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": 5}}}}),
         ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "structured_outputs": {"regex": "("}}), ("/v1/messages", {"messages": []}),
         ("/v1/completions", {"prompt": [-1]}), ("/v1/responses", {"input": []}), ("/v1/chat/completions", {"model": "nobody", "messages": [{"role": "user", "content": "x"}]}),
         ("/nowhere", {}), ("/v1/chat/completions", {"messages": [{"role": "user", "content": "word " * 9000}]})]
NONSENSE = [b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", b"\x00\x01\x02", b"\x16\x03\x01\x02\x00\x01\x00", b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n",
            b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 70000 + b"\r\n\r\n"]


def check_whole(path, body, answer):
    if path == "/v1/chat/completions":
        if len(answer["choices"]) != body.get("n", 1):
            raise Broken(f"{len(answer['choices'])} choices")
        for c in answer["choices"]:
            check_content(body, c["message"].get("content"), c["finish_reason"])
            for call in c["message"].get("tool_calls", []):
                json.loads(call["function"]["arguments"])
        return json.dumps([{k: m for k, m in c["message"].items() if k != "tool_calls"} for c in answer["choices"]]) if body["temperature"] == 0 else None
    if path == "/v1/completions":
        return json.dumps([c["text"] for c in answer["choices"]]) if body["temperature"] == 0 else None
    if answer.get("type") != "message" and answer.get("object") != "response":
        raise Broken(f"no answer: {answer}")
    return None


def check_content(body, content, finish):
    if "response_format" in body and finish == "stop":
        value = json.loads(content)
        if not isinstance(value.get("n"), int):
            raise Broken(f"not of its schema: {content}")


def check_stream(path, body, text):
    if "\n\n" != text[-2:]:
        raise Broken(f"the stream was cut: {text[-200:]!r}")
    data = [line[6:] for line in text.split("\n") if line.startswith("data: ")]
    parsed = [json.loads(d) for d in data if d != "[DONE]"]
    if any("error" in p and p["error"] for p in parsed):
        raise Broken(f"an error in a stream: {text[-500:]}")
    if path in ("/v1/chat/completions", "/v1/completions"):
        if data[-1] != "[DONE]":
            raise Broken(f"no [DONE]: {text[-200:]!r}")
    elif (path == "/v1/messages" and parsed[-1]["type"] != "message_stop") or (path == "/v1/responses" and parsed[-1]["type"] not in ("response.completed", "response.incomplete")):
        raise Broken(f"no end: {text[-200:]!r}")
    if path == "/v1/chat/completions" and body.get("n", 1) == 1:
        content = "".join(c["delta"].get("content") or "" for p in parsed for c in p["choices"])
        check_content(body, content, next(c["finish_reason"] for p in reversed(parsed) for c in p["choices"] if c["finish_reason"]))


class Load:
    def __init__(self, options, host, port):
        self.options, self.host, self.port = options, host, port
        self.go = asyncio.Event()
        self.end = False
        self.busy = 0
        self.broken = []
        self.greedy = {}  # text of a request, by its bytes
        self.counts = {}

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    def frame(self, path, body):
        data = json.dumps(body).encode()
        key = f"Authorization: Bearer {os.environ['OCTET_API_KEY']}\r\n" if "OCTET_API_KEY" in os.environ else ""
        return (f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{key}Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n").encode() + data

    async def read_response(self, reader, pace=0.0):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = int(head.split()[1])
        if "transfer-encoding: chunked" not in head:
            length = next((int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("content-length")), 0)
            return status, await reader.readexactly(length), False
        parts = []
        while size := int(await reader.readline(), 16):
            parts.append((await reader.readexactly(size + 2))[:-2])
            if pace:
                await asyncio.sleep(pace)
        await reader.readexactly(2)
        return status, b"".join(parts), True

    async def answered(self, dice, reader, writer):
        path, body = dice.choice(REQUESTS)(dice)
        body.setdefault("model", self.options.name)
        body["stream"] = dice.random() < 0.5
        data = self.frame(path, body)
        way = dice.random()
        if way < 0.03:  # byte by byte, in part
            for i in range(60):
                writer.write(data[i:i + 1])
                await writer.drain()
            writer.write(data[60:])
        else:
            writer.write(data)
        status, content, streamed = await self.read_response(reader, 0.05 if 0.03 <= way < 0.08 else 0)
        if status != 200:
            raise Broken(f"{path}: {status} {content[:300]!r} for {json.dumps(body)[:300]}")
        if streamed:
            check_stream(path, body, content.decode())
        else:
            same = check_whole(path, body, json.loads(content))
            if same and len(self.greedy) < 20000 and self.greedy.setdefault(data, same) != same:
                raise Broken(f"another text for the same request: {same[:300]} instead of {self.greedy[data][:300]}")
        self.count(KINDS[path])

    async def wrong(self, dice, reader, writer):
        path, body = dice.choice(WRONG)
        writer.write(self.frame(path, {"model": self.options.name, **body}))
        status, content, _ = await self.read_response(reader)
        if status not in (400, 404) or not json.loads(content):
            raise Broken(f"{path}: {status} for {json.dumps(body)[:200]}")
        self.count("refused")

    async def leaves(self, dice, reader, writer):
        path, body = dice.choice(REQUESTS)(dice)
        body.setdefault("model", self.options.name)
        body["stream"] = dice.random() < 0.7
        data = self.frame(path, body)
        stage = dice.randrange(4)
        writer.write(data[:dice.randrange(len(data))] if stage == 0 else data)
        if stage >= 2:
            await reader.readuntil(b"\r\n\r\n")
            if stage == 3:
                await reader.read(dice.choice([1, 500, 5000]))
        else:
            await asyncio.sleep(dice.random() * 0.1)
        if dice.random() < 0.5:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        self.count("left")

    async def nonsense(self, dice, reader, writer):
        writer.write(dice.choice(NONSENSE))
        writer.write_eof()
        answer = await reader.read()
        if answer and not 400 <= int(answer.split()[1]) < 506:
            raise Broken(f"nonsense got {answer[:200]!r}")
        self.count("refused")

    async def client(self, number):
        dice = random.Random(self.options.seed * 100_003 + number)
        while not self.end:
            await self.go.wait()
            if self.end:
                return
            self.busy += 1
            try:
                what = dice.random()
                reader, writer = await asyncio.open_connection(self.host, self.port, limit=1 << 22)
                try:
                    if what < 0.1:
                        await self.leaves(dice, reader, writer)
                    elif what < 0.14:
                        await self.nonsense(dice, reader, writer)
                    elif what < 0.2:
                        await self.wrong(dice, reader, writer)
                    else:
                        for _ in range(dice.randrange(1, 6)):  # on one connection
                            await asyncio.wait_for(self.answered(dice, reader, writer), 300)
                            if not self.go.is_set():
                                break
                finally:
                    writer.close()
            except Exception as e:  # a broken frame is any exception of any reader
                self.broken.append(f"{type(e).__name__}: {e}")
                if len(self.broken) > 100:
                    return
                await asyncio.sleep(0.1)
            finally:
                self.busy -= 1


def metrics(options):
    request = urllib.request.Request(options.url + "/metrics")
    if "OCTET_API_KEY" in os.environ:
        request.add_header("Authorization", "Bearer " + os.environ["OCTET_API_KEY"])
    out = {}
    with urllib.request.urlopen(request, timeout=30) as r:
        for line in r.read().decode().splitlines():
            if line and line[0] != "#":
                name, _, value = line.rpartition(" ")
                out[name.partition("{")[0]] = out.get(name.partition("{")[0], 0) + float(value)
                if name.startswith("http_requests_total") and 'status="5xx"' in name:
                    out["5xx"] = out.get("5xx", 0) + float(value)
    return out


async def quiet(load, options):
    """All clients pause; numbers of the server when nothing runs, after at most 20 s."""
    load.go.clear()
    end = time.monotonic() + 330
    while load.busy and time.monotonic() < end:
        await asyncio.sleep(0.05)
    end = time.monotonic() + 20
    while True:
        now = await asyncio.to_thread(metrics, options)
        held = [now["vllm:num_requests_running"], now["vllm:num_requests_waiting"], now["vllm:kv_cache_usage_perc"], now["octet:gdn_state_slots_used"]]
        # Connections that were left linger for two seconds.
        if (not any(held) and now["process_open_fds"] <= options.descriptors) or time.monotonic() > end:
            return now, held
        await asyncio.sleep(0.2)


LINE = "{:>6} {:>8} {:>6} {:>6} {:>8} {:>6} {:>8} {:>6} {:>6} {:>4} {:>8} {:>6} {:>6} {:>5}"


async def soak(options, alive):
    address = urllib.parse.urlparse(options.url)
    load = Load(options, address.hostname, address.port or 80)
    first = await asyncio.to_thread(metrics, options)
    options.descriptors = first["process_open_fds"] + 1  # the connection that asks
    clients = [asyncio.create_task(load.client(i)) for i in range(options.clients)]
    print(LINE.format("minute", "answers", "chats", "texts", "messages", "resp.", "refused", "left", "broken", "5xx", "MiB", "files", "pages", "slots"), flush=True)
    failures, warm = [], None
    begin = time.monotonic()
    for minute in range(1, options.minutes + 1):
        before, broken = dict(load.counts), len(load.broken)
        load.go.set()
        while time.monotonic() < begin + 60 * minute and alive() and len(load.broken) < 100:
            await asyncio.sleep(0.2)
        if not alive():
            failures.append("the server ended")
            break
        now, held = await quiet(load, options)
        memory = now["process_resident_memory_bytes"] / 2**20
        errors = now.get("5xx", 0) - first.get("5xx", 0)
        done = [load.counts.get(k, 0) - before.get(k, 0) for k in (*KINDS.values(), "refused", "left")]
        print(LINE.format(minute, sum(done[:4]), *done, len(load.broken) - broken, int(errors), f"{memory:.1f}", int(now["process_open_fds"]), f"{held[2]:.3f}", int(held[3])), flush=True)
        if any(held):
            failures.append(f"minute {minute}: held with nobody there: running {held[0]:.0f}, waiting {held[1]:.0f}, pages {held[2]:.3f}, slots {held[3]:.0f}")
        if now["process_open_fds"] > options.descriptors:
            failures.append(f"minute {minute}: {now['process_open_fds']:.0f} open files instead of {options.descriptors:.0f}")
        if errors:
            failures.append(f"minute {minute}: {errors:.0f} answers with 5xx")
        if warm is None:
            warm = memory
        elif memory - warm > options.growth:
            failures.append(f"minute {minute}: memory grew from {warm:.1f} to {memory:.1f} MiB")
        if len(load.broken) >= 100:
            break
    load.end = True
    load.go.set()
    await asyncio.gather(*clients)
    failures += load.broken[:20]
    if not load.counts.get("chat"):
        failures.append("nothing was answered")
    return failures


def start(options):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    options.url = f"http://127.0.0.1:{port}"
    log = tempfile.NamedTemporaryFile("w+", suffix=".log")
    process = subprocess.Popen([options.octet, "serve", options.model, "--port", str(port), *shlex.split(options.flags)], stdout=log, stderr=log)
    while process.poll() is None:
        try:
            with urllib.request.urlopen(options.url + "/health", timeout=5):
                return process, log
        except OSError:
            time.sleep(0.1)
    sys.exit(f"soak: the server ended with {process.returncode}:\n{open(log.name).read()}")


def main():
    parser = argparse.ArgumentParser(prog="soak")
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--octet", required=True)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--flags", default=SMALL)
    parser.add_argument("--url")
    parser.add_argument("--growth", type=float, default=32)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    process = log = None
    if not options.url:
        process, log = start(options)
    try:
        request = urllib.request.Request(options.url + "/v1/models")
        if "OCTET_API_KEY" in os.environ:
            request.add_header("Authorization", "Bearer " + os.environ["OCTET_API_KEY"])
        with urllib.request.urlopen(request, timeout=30) as r:
            options.name = json.load(r)["data"][0]["id"]
        failures = asyncio.run(soak(options, lambda: process is None or process.poll() is None))
        if process and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            if process.wait(60) != 0:
                failures.append(f"the server ended with {process.returncode}")
        if process and failures:
            print("".join(open(log.name).readlines()[-40:]), file=sys.stderr)
    finally:
        if process and process.poll() is None:
            process.kill()
            process.wait()
    for failure in failures:
        print("FAILED:", failure)
    print("soak:", "failed" if failures else f"{options.minutes} minutes without a fault")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
