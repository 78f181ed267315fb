"""A stream adds up to the answer that comes at once: text, thinking, calls, log-probabilities, token ids, reasons and usage, for random
requests of each API."""
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from octet_server import Server

SETTINGS = dict(derandomize=True, deadline=None, database=None, print_blob=True, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def small():
    """The second answer comes from the cache: exact, it has the bits of the first."""
    with Server("--max-num-seqs", "8", "--max-model-len", "2048", "--prefix-cache", "exact") as server:
        yield server


QUESTIONS = st.sampled_from(["What is the capital of France?", "What is 7 + 12?", "What is the weather in Paris?", "Write a short story about a fox.",
                             "Compare the weather in Paris and in Rome.", "Schreibe ein Gedicht über Käse. 🦊", "Answer in JSON."])
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]}
COMMON = {
    "temperature": st.sampled_from([0, 0.8, 1.5]), "seed": st.integers(0, 10**6), "top_p": st.sampled_from([0.5, 0.95]), "min_p": st.just(0.05),
    "stop_token_ids": st.sampled_from([[11], [500, 501]]), "min_tokens": st.integers(0, 3), "ignore_eos": st.just(True), "skip_special_tokens": st.just(False),
    "include_stop_str_in_output": st.booleans(), "stream_interval": st.integers(1, 9), "logit_bias": st.just({"13": -100}), "bad_words": st.just(["the"]),
    "repetition_detection": st.just({"max_pattern_size": 4, "min_count": 3}), "presence_penalty": st.just(1.5), "repetition_penalty": st.just(1.1)}
STOPS = st.sampled_from(["e", ["th", "."], ["\n"], ["Paris"], ["</think>"], ["citizen", " is the"], ["é", "ü"]])
LENGTHS = st.sampled_from([1, 2, 3, 7, 20, 60, 150])


def fields(required, optional):
    return st.sets(st.sampled_from(sorted(optional)), max_size=6).flatmap(
        lambda names: st.fixed_dictionaries({**required, **{n: optional[n] for n in sorted(names)}}))


def frames(server, path, body):
    """The JSON of each frame; [DONE] left out."""
    with server.open("POST", path, json.dumps({**body, "stream": True}).encode()) as r:
        text = r.read().decode()
    assert text.endswith("\n\n")
    data = [f.partition("data: ")[2] for f in text[:-2].split("\n\n") if not f.startswith(":")]
    if path in ("/v1/chat/completions", "/v1/completions"):
        assert data.pop() == "[DONE]"
    return [json.loads(d) for d in data]


def usage_of(usage):
    """Without what depends on what was asked before."""
    return {k: v for k, v in usage.items() if k != "prompt_tokens_details"}


# ---- chat

def chat_requests():
    tools = [{"type": "function", "function": {"name": "get_weather", "description": "Get the current weather for a city.", "parameters": SCHEMA}}]
    forced = {"type": "function", "function": {"name": "get_weather"}}
    return st.tuples(QUESTIONS, fields({"max_tokens": LENGTHS}, {
        **COMMON, "n": st.integers(1, 3), "stop": STOPS, "stop_in_reasoning": st.booleans(), "logprobs": st.just(True), "include_reasoning": st.booleans(),
        "reasoning_effort": st.sampled_from(["none", "high"]), "thinking_token_budget": st.integers(0, 9), "return_token_ids": st.just(True),
        "parallel_tool_calls": st.booleans(), "reasoning_format": st.sampled_from(["none", "deepseek"]), "parse_tool_calls": st.booleans(),
        "return_tokens_as_token_ids": st.just(True), "tool_choice": st.sampled_from(["auto", "auto", "none", "required", forced]),
        "format": st.sampled_from([{"response_format": {"type": "json_object"}}, {"structured_outputs": {"choice": ["yes", "no, never"]}},
                                   {"structured_outputs": {"regex": "[a-z]{1,9}( [0-9]+)*"}}, {"structured_outputs": {"json": SCHEMA}}]),
        "continue": st.sampled_from(["The capital", "Well"])})).map(lambda t: tidy_chat(*t, tools))


def tidy_chat(question, body, tools):
    body = dict(body)
    body["messages"] = [{"role": "user", "content": question}]
    if body.get("logprobs"):
        body["top_logprobs"] = body.get("seed", 0) % 4
    body.update(body.pop("format", {}))
    if "tool_choice" in body:
        body["tools"] = tools
    if (beginning := body.pop("continue", None)) and "tools" not in body:
        body["messages"].append({"role": "assistant", "content": beginning})
        body.update(continue_final_message=True, echo=True)
    if "bad_words" in body and len(body) > 8:
        del body["bad_words"]  # may leave a grammar nothing
    if body.get("max_tokens", 9) < body.get("min_tokens", 0):
        del body["min_tokens"]
    return {"seed": 1, **body}


def joined_chat(chunks, n):
    """The answer that chunks add up to."""
    out = [{"content": "", "reasoning": "", "calls": [], "logprobs": None, "ids": [], "finish": None, "stop": None} for _ in range(n)]
    usage = None
    for chunk in chunks:
        assert "error" not in chunk, chunk
        usage = chunk.get("usage", usage)
        for c in chunk["choices"]:
            to, delta = out[c["index"]], c["delta"]
            assert to["finish"] is None, "something came after the end"
            assert not ("content" in delta and "reasoning" in delta)
            assert delta.get("reasoning") == delta.get("reasoning_content")
            to["content"] += delta.get("content", "")
            to["reasoning"] += delta.get("reasoning", "")
            for call in delta.get("tool_calls", []):
                if "id" in call:
                    assert call["index"] == len(to["calls"]) and call["type"] == "function" and call["id"].startswith("call_")
                    to["calls"].append([call["function"]["name"], ""])
                to["calls"][call["index"]][1] += call["function"].get("arguments", "")
            if c["logprobs"]:
                to["logprobs"] = (to["logprobs"] or []) + c["logprobs"]["content"]
            to["ids"] += c.get("token_ids") or []
            if c["finish_reason"]:
                to["finish"], to["stop"] = c["finish_reason"], c["stop_reason"]
    return out, usage


def check_chat(server, body):
    whole = server.post("/v1/chat/completions", body)
    streamed, usage = joined_chat(frames(server, "/v1/chat/completions", {**body, "stream_options": {"include_usage": True}}), body.get("n", 1))
    assert usage_of(usage) == usage_of(whole["usage"])
    assert usage["completion_tokens"] <= body["max_tokens"] * body.get("n", 1)
    for choice, s in zip(whole["choices"], streamed, strict=True):
        m = choice["message"]
        assert (s["finish"], s["stop"]) == (choice["finish_reason"], choice["stop_reason"])
        assert s["reasoning"] == m.get("reasoning", "") == m.get("reasoning_content", "")
        assert (s["logprobs"] or []) == (choice["logprobs"] or {"content": []})["content"]
        assert s["ids"] == (choice["token_ids"] or [])
        calls = [[c["function"]["name"], c["function"]["arguments"]] for c in m.get("tool_calls", [])]
        if s["finish"] in ("length", "repetition") and s["calls"] != calls:
            # A call that was cut off: its beginning is out in the stream, and raw text in the whole answer.
            assert s["calls"][:-1] == calls and (m["content"] or "").startswith(s["content"])
            continue
        assert s["calls"] == calls and s["content"] == (m["content"] or "")
        for _, arguments in calls:
            assert isinstance(json.loads(arguments), dict)
        assert (s["finish"] == "tool_calls") <= bool(calls)


def test_chat(small):
    @settings(max_examples=120, **SETTINGS)
    @given(chat_requests())
    def check(body):
        check_chat(small, body)
    check()


# ---- completions

def test_completions(small):
    requests = fields({"max_tokens": st.sampled_from([1, 2, 7, 30]), "prompt": st.sampled_from(["Once upon a time", "Käse 🦊", ["The fox", "What"], [40, 41, 42], [[40], [41, 42]]])}, {
        **COMMON, "n": st.integers(1, 3), "stop": STOPS, "logprobs": st.integers(0, 3), "echo": st.booleans(), "return_token_ids": st.just(True),
        "structured_outputs": st.just({"regex": "[a-z]{1,9}( [0-9]+)*"})})

    @settings(max_examples=60, **SETTINGS)
    @given(requests)
    def check(body):
        body = {"seed": 1, **body}
        if body["max_tokens"] < body.get("min_tokens", 0):
            del body["min_tokens"]
        whole = small.post("/v1/completions", body)
        out, usage = {}, None
        for chunk in frames(small, "/v1/completions", {**body, "stream_options": {"include_usage": True}}):
            usage = chunk.get("usage", usage)
            for c in chunk["choices"]:
                to = out.setdefault(c["index"], {"text": "", "logprobs": {}, "ids": [], "finish": None, "stop": None})
                assert to["finish"] is None
                to["text"] += c["text"]
                for name, values in (c["logprobs"] or {}).items():
                    to["logprobs"].setdefault(name, []).extend(values)
                to["ids"] += c.get("token_ids") or []
                if c["finish_reason"]:
                    to["finish"], to["stop"] = c["finish_reason"], c["stop_reason"]
        assert usage_of(usage) == usage_of(whole["usage"])
        for c in whole["choices"]:
            assert out[c["index"]] == {"text": c["text"], "logprobs": c["logprobs"] or {}, "ids": c.get("token_ids") or [], "finish": c["finish_reason"],
                                       "stop": c["stop_reason"]}
            if c["logprobs"] and not body.get("skip_special_tokens", True) and "stop" not in body and not body.get("ignore_eos"):
                assert len(c["logprobs"]["tokens"]) == len(c["logprobs"]["token_logprobs"]) == len(c["logprobs"]["text_offset"])
    check()


# ---- responses

def without_ids(items):
    return [{k: v for k, v in item.items() if k not in ("id", "call_id")} for item in items]


def test_responses(small):
    tools = [{"type": "function", "name": "get_weather", "description": "Get the current weather for a city.", "parameters": SCHEMA}]
    requests = st.tuples(QUESTIONS, fields({"max_output_tokens": LENGTHS}, {
        **COMMON, "stop": STOPS, "top_logprobs": st.integers(1, 3), "reasoning": st.sampled_from([{"effort": "none"}, {"effort": "high"}]),
        "thinking_token_budget": st.integers(0, 9), "tool_choice": st.sampled_from(["auto", "auto", "required", {"type": "function", "name": "get_weather"}]),
        "text": st.sampled_from([{"format": {"type": "json_object"}}, {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA, "strict": False}}])}))

    @settings(max_examples=60, **SETTINGS)
    @given(requests)
    def check(request):
        question, body = request
        body = {"seed": 1, **body, "input": question}
        body.pop("bad_words", None)
        if "tool_choice" in body:
            body["tools"] = tools
        if body["max_output_tokens"] < body.get("min_tokens", 0):
            del body["min_tokens"]
        whole = small.post("/v1/responses", body)
        events = frames(small, "/v1/responses", body)
        assert [e["sequence_number"] for e in events] == list(range(len(events)))
        final = events[-1]["response"]
        assert events[-1]["type"] == "response." + final["status"]
        for key in "status", "incomplete_details", "tools", "tool_choice", "text", "reasoning", "temperature", "error":
            assert final[key] == whole[key], key
        for key in "input_tokens", "output_tokens", "output_tokens_details", "total_tokens":
            assert final["usage"][key] == whole["usage"][key]
        cut = final["status"] == "incomplete" and any(i["type"] == "function_call" and i["status"] == "incomplete" for i in final["output"])
        if not cut:
            assert without_ids(final["output"]) == without_ids(whole["output"])
        # What came piece by piece is what the items say in the end.
        for index, item in enumerate(final["output"]):
            own = [e for e in events if e.get("output_index") == index]
            assert own[0]["type"] == "response.output_item.added" and own[-1] == {**own[-1], "type": "response.output_item.done", "item": item}
            pieces = "".join(e["delta"] for e in own if e["type"].endswith(".delta"))
            assert pieces == (item["arguments"] if item["type"] == "function_call" else item["content"][0]["text"])
            if item["type"] == "message":
                assert [p for e in own if e["type"].endswith(".delta") for p in e["logprobs"]] == item["content"][0]["logprobs"][:sum(len(e["logprobs"]) for e in own if e["type"].endswith(".delta"))]
    check()


# ---- messages

def test_messages(small):
    tools = [{"name": "get_weather", "description": "Get the current weather for a city.", "input_schema": SCHEMA}]
    requests = st.tuples(QUESTIONS, fields({"max_tokens": LENGTHS}, {
        **COMMON, "temperature": st.sampled_from([0, 0.8, 1]), "stop_sequences": st.sampled_from([["e"], ["th", "."], ["Paris"]]),
        "thinking": st.sampled_from([{"type": "disabled"}, {"type": "enabled", "budget_tokens": 5}, {"type": "adaptive"}]),
        "tool_choice": st.sampled_from([{"type": "auto"}, {"type": "auto", "disable_parallel_tool_use": True}, {"type": "any"}, {"type": "tool", "name": "get_weather"}, {"type": "none"}]),
        "output_config": st.just({"format": {"type": "json_schema", "schema": {**SCHEMA, "additionalProperties": False}}})}))

    @settings(max_examples=60, **SETTINGS)
    @given(requests)
    def check(request):
        question, body = request
        body = {"seed": 1, **body, "model": "claude-x", "messages": [{"role": "user", "content": question}]}
        body.pop("bad_words", None)
        if "tool_choice" in body:
            body["tools"] = tools
        if body["max_tokens"] < body.get("min_tokens", 0):
            del body["min_tokens"]
        whole = small.post("/v1/messages", body)
        events = frames(small, "/v1/messages", body)
        assert [e["type"] for e in (events[0], events[-2], events[-1])] == ["message_start", "message_delta", "message_stop"]
        blocks, raw = [], []
        for e in events[1:-2]:
            if e["type"] == "content_block_start":
                assert e["index"] == len(blocks)
                blocks.append(dict(e["content_block"]))
                raw.append("")
            elif e["type"] == "content_block_delta":
                delta = e["delta"]
                assert e["index"] == len(blocks) - 1
                for kind, key in ("text_delta", "text"), ("thinking_delta", "thinking"), ("signature_delta", "signature"):
                    if delta["type"] == kind:
                        blocks[-1][key] += delta[key]
                if delta["type"] == "input_json_delta":
                    raw[-1] += delta["partial_json"]
            else:
                assert e["type"] in ("content_block_stop", "ping")
        end = events[-2]
        assert end["delta"] == {"stop_reason": whole["stop_reason"], "stop_sequence": whole["stop_sequence"]}
        total = lambda u: (u["input_tokens"] + u["cache_read_input_tokens"] + u["cache_creation_input_tokens"], u["output_tokens"])
        assert total(end["usage"]) == total(whole["usage"])
        if whole["stop_reason"] == "max_tokens" and blocks and blocks[-1]["type"] == "tool_use":
            return  # cut off within a call: its beginning is out in the stream, and text in the whole answer
        for block, text in zip(blocks, raw):
            if block["type"] == "tool_use":
                block["input"] = json.loads(text or "{}")
        assert without_ids(blocks) == without_ids(whole["content"])
    check()
