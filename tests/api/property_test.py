"""Requests made from the server's own /openapi.json: what it calls valid is answered, anything else is refused as the table of errors
says, and nothing ends the server."""
import json
import time
import urllib.error

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from octet_server import Server

SETTINGS = dict(derandomize=True, deadline=None, database=None, print_blob=True, suppress_health_check=list(HealthCheck))
STREAMS = ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"]
OTHERS = ["/v1/chat/completions/render", "/v1/chat/completions/input_tokens", "/v1/chat/completions/control", "/v1/responses/input_tokens",
          "/v1/messages/count_tokens", "/tokenize", "/detokenize"]


@pytest.fixture(scope="module")
def world():
    """A small context and short answers where a request names no length: hostile requests ask for all there is."""
    with Server("--max-num-seqs", "8", "--max-model-len", "512", "--override-generation-config", '{"max_new_tokens": 4}') as server:
        yield server, server.get("/openapi.json")


# ---- values

class Raw(str):
    """JSON text that json.dumps could not write."""


# Text as people and fuzzers write it: lone surrogates (JavaScript cuts strings between them), control characters, special tokens.
TEXTS = st.one_of(
    st.sampled_from(["Hello", "What is 7 + 12?", "", " ", "\x00", "\x1b[31m", "\u2028", "\ufeff", "\ud800", "a\udfffb", "\ud83d\ude00", "<|im_end|>",
                     "</think>", "<tool_call>\n<function=f>", "{{ 1/0 }}", "%s%n", "\U0010ffff"]),
    st.text(st.characters(codec=None, exclude_categories=()), max_size=20))
HOSTILE = st.one_of(
    st.sampled_from([None, True, False, 0, -1, 1, 2**31 - 1, 2**31, -2**31, 2**32, 2**53, 2**63 - 1, 2**63, -2**63, -2**63 - 1, 2**64, 10**30, 0.5, -0.0,
                     1e308, -1e308, 1e-320, float("nan"), float("inf"), float("-inf"), "NaN", "", "x" * 5000, [], {}, [[]], [{}], {"": None},
                     {"type": 5}, {"type": "text"}, [None], [0.5], [2**63], ["", ""], {"a": {"b": {"c": []}}}]),
    TEXTS, st.integers(-2**65, 2**65), st.floats(), st.lists(TEXTS, max_size=3), st.dictionaries(TEXTS, TEXTS, max_size=3),
    st.sampled_from([20, 100, 127, 200, 5000]).map(lambda n: Raw("[" * n + "]" * n)),
    st.sampled_from([20, 100, 127, 200, 5000]).map(lambda n: Raw('{"a":' * n + "1" + "}" * n)))


def to_text(value):
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(json.dumps(k) + ":" + to_text(v) for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(to_text, value)) + "]"
    return json.dumps(value)


TOOL_SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]}
USER = {"role": "user", "content": "Hello"}
MESSAGES = st.sampled_from([
    [USER], [{"role": "system", "content": "Be brief."}, USER], [USER, {"role": "assistant", "content": "Hi"}, USER],
    [USER, {"role": "assistant", "content": [{"type": "text", "text": "Hi"}]}, {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]])
CHAT_TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "x", "parameters": TOOL_SCHEMA}}]
RESPONSE_TOOLS = [{"type": "function", "name": "get_weather", "description": None, "parameters": TOOL_SCHEMA, "strict": False}]
ANTHROPIC_TOOLS = [{"name": "get_weather", "input_schema": TOOL_SCHEMA}]
# What the description says in words, or what needs another field: by schema and field.
WORDS = {
    "model": st.just("tiny"), "min_tokens": st.just(0), "priority": st.just(0), "n": st.integers(1, 3), "max_tokens": st.integers(1, 3),
    "max_completion_tokens": st.integers(1, 3), "max_output_tokens": st.integers(1, 3), "logit_bias": st.just({"7": 3, "8": -200}),
    "stop": st.sampled_from([None, "e", ["a", "\n"]]), "stop_token_ids": st.sampled_from([[], [5, 9]]), "allowed_token_ids": st.just([5, 6, 7]),
    "bad_words": st.sampled_from([[], ["the"]]), "cache_salt": st.text(min_size=1, max_size=20), "top_logprobs": st.just(0), "prompt_logprobs": st.integers(0, 3),
    "messages": MESSAGES, "stop_sequences": st.sampled_from([[], ["e"]]), "seed": st.integers(-2**63, 2**63 - 1), "top_k": st.integers(-1, 2**63 - 1),
    "truncate_prompt_tokens": st.sampled_from([-1, 20, 5000]), "continue_final_message": st.just(False), "chat_template_kwargs": st.sampled_from([{}, {"enable_thinking": False}]),
    "structured_outputs": st.just({"choice": ["yes", "no"]}), "metadata": st.just({"user_id": "u"}), "thinking_token_budget": st.integers(-1, 2**63 - 1),
    "repetition_penalty": st.floats(0.5, 2), "max_tool_calls": st.integers(1, 9), "tokens": st.lists(st.integers(0, 4000), max_size=9),
    "system": st.sampled_from(["Be brief.", [{"type": "text", "text": "Be brief."}]]), "output_config": st.just({"effort": "low"}),
    "include": st.sampled_from([[], ["message.output_text.logprobs"]]), "text": st.sampled_from([{}, {"format": {"type": "json_object"}}]),
    "instructions": st.sampled_from([None, "Be brief."]), ("Tokenize", "prompt"): st.text(max_size=20), ("Completion", "prompt"): st.sampled_from(["Once", ["Once", "a"], [5, 6], [[5], [6, 7]]]), "content": st.just("Hello"),
    "reasoning": st.sampled_from([{}, {"effort": "none"}, {"effort": "high", "summary": "auto"}]),
    ("Chat", "tools"): st.sampled_from([[], CHAT_TOOLS]), ("Responses", "tools"): st.sampled_from([[], RESPONSE_TOOLS]),
    ("Messages", "tools"): st.sampled_from([[], ANTHROPIC_TOOLS]), ("CountTokens", "tools"): st.sampled_from([[], ANTHROPIC_TOOLS]),
    ("Chat", "tool_choice"): st.sampled_from(["none", "auto"]), ("Responses", "tool_choice"): st.sampled_from(["none", "auto"]),
    ("Messages", "tool_choice"): st.sampled_from([{"type": "auto"}, {"type": "none"}]), ("CountTokens", "tool_choice"): st.just({"type": "auto"}),
    ("Chat", "response_format"): st.sampled_from([{"type": "text"}, {"type": "json_object"}]), ("Completion", "logprobs"): st.integers(0, 3),
    ("Chat", "top_logprobs"): st.just(0), ("Messages", "thinking"): st.sampled_from([{"type": "disabled"}, {"type": "enabled", "budget_tokens": 1024}]),
    ("CountTokens", "thinking"): st.just({"type": "adaptive"}),
    ("Responses", "input"): st.sampled_from(["Hello", [{"role": "user", "content": "Hello"}], [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]}]]),
}
# Fields that can't stand together, by schema: the first of them that is there stays.
ALONE = [("response_format", "structured_outputs"), ("prompt", "messages", "content"), ("prompt_logprobs", "stream"), ("add_generation_prompt", "continue_final_message")]


def field_values(name, field, owner):
    for key in ((owner, name), name):
        if key in WORDS:
            return WORDS[key]
    if "enum" in field:
        return st.sampled_from(field["enum"])
    low, high = field.get("minimum"), field.get("maximum")
    match field.get("type"):
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(int(low) if low is not None else -2**63, int(high) if high is not None else 2**63 - 1)
        case "number":
            above = field.get("exclusiveMinimum")
            return st.floats(above if above is not None else low, high, exclude_min=above is not None)
        case "string":
            return st.text(max_size=min(20, field.get("maxLength", 20)))
        case "object":
            return st.just({})
    raise AssertionError(f"{owner}.{name}: this test knows no valid value of {field}")


def requests(document, path):
    """Requests that the description allows."""
    owner = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    schema = document["components"]["schemas"][owner]
    required = schema.get("required", [])
    fields = {name: field_values(name, field, owner) for name, field in schema["properties"].items() if name != "stream_options"}

    def tidy(body):
        if "allowed_token_ids" in body:  # not among them: what these would have
            for name in "response_format", "structured_outputs", "text", "thinking_token_budget", "thinking":
                body.pop(name, None)
        for group in ALONE:
            for name in [n for n in group if n in body][1:]:
                if name not in required:
                    del body[name]
        if owner == "Tokenize" and not {"prompt", "messages", "content"} & set(body):
            body["prompt"] = "x"
        if "max_tokens" not in body and owner == "Completion":
            body["max_tokens"] = 2
        return body
    optional = sorted(set(fields) - set(required))
    chosen = st.sets(st.sampled_from(optional), max_size=8) if optional else st.just(set())
    return chosen.flatmap(
        lambda names: st.fixed_dictionaries({n: fields[n] for n in [*required, *sorted(names)]})).map(tidy)


# ---- answers

def check_error(path, status, text):
    error = json.loads(text)
    if path.startswith("/v1/messages"):
        assert error["type"] == "error" and isinstance(error["error"]["type"], str) and error["error"]["message"] and error["request_id"], error
        return
    error = error["error"]
    assert error["code"] == status and error["message"] and isinstance(error["type"], str), error
    assert error["param"] is None or isinstance(error["param"], str)


def check_stream(path, text):
    """Whole frames of valid JSON that end as the dialect ends; the text of an error frame, if there is one."""
    assert text.endswith("\n\n")
    frames = [f for f in text[:-2].split("\n\n") if not f.startswith(":")]
    data = [f.partition("data: ")[2] for f in frames]
    if path in ("/v1/chat/completions", "/v1/completions"):
        assert data.pop() == "[DONE]"
    values = [json.loads(d) for d in data]
    errors = [v for v in values if "error" in v and v["error"] and v.get("object") != "response"]
    assert not errors, errors
    if path == "/v1/messages":
        assert values[0]["type"] == "message_start" and values[-1]["type"] == "message_stop"
    if path == "/v1/responses":
        assert values[0]["type"] == "response.created" and values[-1]["type"] in ("response.completed", "response.incomplete")
        assert [v["sequence_number"] for v in values] == list(range(len(values)))


def send(server, path, body):
    text = to_text(body)
    try:
        with server.open("POST", path, text.encode()) as r:
            status, kind, answer = r.status, r.headers["Content-Type"], r.read()
    except urllib.error.HTTPError as e:
        status, kind, answer = e.code, e.headers["Content-Type"], e.read()
    answer = answer.decode()  # valid UTF-8
    if status == 200 and kind.startswith("text/event-stream"):
        check_stream(path, answer)
    elif status == 200:
        json.loads(answer)
    else:
        assert kind == "application/json; charset=utf-8"
        check_error(path, status, answer)
    return status, answer


@pytest.mark.parametrize("path", STREAMS + OTHERS)
def test_valid_requests_are_answered(world, path):
    server, document = world

    @settings(max_examples=30 if path in STREAMS else 10, **SETTINGS)
    @given(requests(document, path))
    def check(body):
        status, answer = send(server, path, body)
        assert status == 200, (status, answer)
    check()
    check_at_rest(server)


def check_at_rest(server):
    """Nothing is under way. A connection notes its last answer a moment after the client has it."""
    assert server.get("/health")["status"] == "ok"
    end = time.monotonic() + 10
    while server.get("/load") != {"server_load": 0}:
        assert time.monotonic() < end, server.get("/load")
        time.sleep(0.02)


def places(value, path=()):
    yield path
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def changed(value, path, change):
    if not path:
        return change(value)
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(copy[path[0]], path[1:], change)
    return copy


@st.composite
def broken(draw, document, path):
    """A valid request with one to three things wrong, each anywhere in it."""
    body = draw(requests(document, path))
    owner = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    names = sorted(document["components"]["schemas"][owner]["properties"])
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["value", "value", "field", "missing", "unknown"]))
        if kind == "field" and isinstance(body, dict):
            body = {**body, draw(st.sampled_from(names)): draw(HOSTILE)}
        elif kind == "unknown" and isinstance(body, dict):
            body = {**body, draw(TEXTS): draw(HOSTILE)}
        else:
            at = draw(st.sampled_from(list(places(body))))
            if kind == "missing" and at:
                body = changed(body, at[:-1], lambda v, key=at[-1]: {k: x for k, x in v.items() if k != key} if isinstance(v, dict) else v[:key] + v[key + 1:])
            else:
                hostile = draw(HOSTILE)
                body = changed(body, at, lambda _, value=hostile: value)
    return body


@pytest.mark.parametrize("path", STREAMS + OTHERS)
def test_broken_requests_are_refused_and_hurt_nobody(world, path):
    server, document = world

    @settings(max_examples=60 if path in STREAMS else 15, **SETTINGS)
    @given(broken(document, path))
    def check(body):
        status, answer = send(server, path, body)
        assert status in (200, 400, 404, 501, 503), (status, answer)
    check()
    check_at_rest(server)
    assert server.post("/v1/completions", {"prompt": "Once", "max_tokens": 1})["choices"]


@settings(max_examples=60, **SETTINGS)
@given(path=st.sampled_from(STREAMS + OTHERS), text=st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda t: t.encode("utf-8", "surrogatepass")),
       st.sampled_from([b'{"a": NaN}', b'{"a": 1e99999}', b'{"a": "\xed\xa0\x80"}', b'{"a": "\\ud800"}', b'{"a":1}{"b":2}', b'{"a" 1}', b"\xef\xbb\xbf{}", b"{}\x00", b'{"a":1,"a":2}'])))
def test_any_bytes(world, path, text):
    server, _ = world
    status, answer = server.status("POST", path, text)
    assert status == 400, answer
    check_error(path, status, json.dumps(answer))


def test_server_is_well_at_the_end(world):
    server, _ = world
    assert "failed" not in server.text(), server.text()
    check_at_rest(server)
