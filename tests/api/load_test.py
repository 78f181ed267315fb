"""Many streams at once, with readers that go away, dawdle or talk nonsense: no error outside the table, the
sequential answers, and everything given back at the end. OCTET_LOAD_SECONDS: how long (default 10)."""
import asyncio
import json
import os
import pathlib
import random
import time

from octet_server import Server

SECONDS = float(os.environ.get("OCTET_LOAD_SECONDS", 10))
STREAMS = int(os.environ.get("OCTET_LOAD_STREAMS", 256))
PROMPTS = ["What is the capital of France?", "What is 7 + 12?", "Write a short story about a fox.", "Count from two to nine.",
           "What sound does a frog make?", "Hello! Who are you?", "Repeat after me: cat red Tom owl",
           "Write a function that adds two numbers in Python."]


def body(number, stream=True):
    """Request of a kind: greedy or seeded, with and without thinking, plain or with a format."""
    kind = number % 5
    request = {"model": "tiny", "messages": [{"role": "user", "content": PROMPTS[number % len(PROMPTS)]}], "max_tokens": 48, "stream": stream,
               "temperature": 0 if kind < 2 else 1, "seed": number % 7, "chat_template_kwargs": {"enable_thinking": kind in (1, 3)}}
    if number % 3 == 0:
        request["messages"].insert(0, {"role": "system", "content": "You are a patient teacher of small children. " * 12})
    if kind == 4:
        request["structured_outputs"] = {"regex": "[a-z ]{5,40}"}
    return request


KINDS = 5 * 7 * 8 * 3  # after so many numbers, body() repeats


async def connect(port):
    return await asyncio.open_connection("127.0.0.1", port)


def frame(request, path="/v1/chat/completions"):
    data = json.dumps(request).encode()
    return (f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n").encode() + data


async def read_head(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    return int(head.split()[1]), head.lower()


async def read_chunks(reader, pace=None):
    while True:
        size = int(await reader.readline(), 16)
        chunk = await reader.readexactly(size + 2)
        if size == 0:
            return
        yield chunk[:-2]
        if pace:
            await asyncio.sleep(pace)


def text_of(events):
    out = ""
    for e in events.decode().split("\n\n"):
        if e.startswith("data: {"):
            d = json.loads(e[6:])
            assert "error" not in d, d
            for c in d["choices"]:
                out += (c["delta"].get("reasoning") or "") + "|" * ("finish_reason" in c and c["finish_reason"] is not None) + (c["delta"].get("content") or "")
    assert events.endswith(b"data: [DONE]\n\n"), events[-200:]
    return out


async def ask(port, number, pace=None):
    reader, writer = await connect(port)
    try:
        writer.write(frame(body(number)))
        status, _ = await read_head(reader)
        assert status == 200, status
        return text_of(b"".join([c async for c in read_chunks(reader, pace)]))
    finally:
        writer.close()


async def leave(port, number, dice):
    """Sends a request and goes: at once, after the head, in the middle; with FIN or RST."""
    reader, writer = await connect(port)
    writer.write(frame(body(number)))
    stage = dice.randrange(4)
    if stage == 1:
        await asyncio.sleep(dice.random() * 0.05)
    elif stage >= 2:
        await read_head(reader)
        chunks = read_chunks(reader)
        for _ in range(dice.randrange(5)):
            await anext(chunks, None)
    if dice.random() < 0.5:
        import socket
        import struct
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort() if dice.random() < 0.5 else writer.close()


NONSENSE = [b"GET / HTTP/9.9\r\n\r\n", b"\x00\x01\x02", b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\n{\"a\":",
            frame({"messages": 5}), frame({"model": "x", "messages": []}), frame({"messages": [{"role": "user", "content": "x"}], "temperature": 9}),
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n", b"GET /" + b"%ff" * 40 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"]


async def nonsense(port, dice):
    reader, writer = await connect(port)
    writer.write(dice.choice(NONSENSE))
    writer.write_eof()
    answer = await asyncio.wait_for(reader.read(), 30)
    if answer:
        assert int(answer.split()[1]) in (400, 404, 415, 505), answer[:200]
    writer.close()


async def worker(port, expected, index, end, counts):
    dice = random.Random(index)
    while time.monotonic() < end:
        number = dice.randrange(KINDS)
        what = dice.random()
        if what < 0.12:
            await leave(port, number, dice)
            counts["left"] += 1
        elif what < 0.2:
            await nonsense(port, dice)
            counts["nonsense"] += 1
        else:
            text = await ask(port, number, 0.02 if what < 0.25 else None)
            counts["answered"] += 1
            want = expected.get(number)
            if want is None:
                # Seen for the first time under load: it must come out the same alone, afterwards.
                expected[number] = (text, False)
            else:
                assert text == want[0], f"request {number}: {text!r} instead of {want[0]!r}"


def resident(pid):
    return int(next(x for x in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmRSS")).split()[1]) * 1024


def descriptors(pid):
    return len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir()))


async def load(server):
    port, pid = server.port, server.process.pid
    expected = {n: (await ask(port, n), True) for n in range(24)}
    baseline = {"fds": descriptors(pid)}
    counts = {"answered": 0, "left": 0, "nonsense": 0}
    # A first third warms what grows once (buffers, caches); memory is compared over the rest.
    start = time.monotonic()
    await asyncio.gather(*(worker(port, expected, i, start + SECONDS / 3, counts) for i in range(STREAMS)))
    warm = resident(pid)
    await asyncio.gather(*(worker(port, expected, 1000 + i, start + SECONDS, counts) for i in range(STREAMS)))
    for number in random.Random(1).sample(sorted(expected), min(60, len(expected))):
        assert await ask(port, number) == expected[number][0], number
    return baseline, warm, counts


def test_load():
    with Server("--max-num-seqs", "64", "--max-model-len", "2048", "--max-queued-requests", "1024") as server:
        baseline, warm, counts = asyncio.run(load(server))
        end = time.monotonic() + 20
        while time.monotonic() < end:
            metrics = server.metrics()
            busy = [metrics[f"vllm:{n}"] for n in ("num_requests_running", "num_requests_waiting")]
            if busy == [0, 0] and descriptors(server.process.pid) <= baseline["fds"] + 2:
                break
            time.sleep(0.1)
        assert busy == [0, 0], busy
        assert descriptors(server.process.pid) <= baseline["fds"] + 2
        grown = resident(server.process.pid) - warm
        print(counts, "memory grew by", grown)
        assert grown < 64 << 20, grown
        assert counts["answered"] > STREAMS and counts["left"] > 10 and counts["nonsense"] > 10, counts
        used = {k: v for k, v in metrics.items() if "slots_used" in k}
        assert used and all(v == 0 for v in used.values()), used
