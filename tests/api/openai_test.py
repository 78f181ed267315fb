"""The server through OpenAI's own Python client."""
import json

import openai
import pydantic
import pytest

CAPITAL = [{"role": "user", "content": "What is the capital of France?"}]
SUM = [{"role": "user", "content": "What is 7 + 12?"}]
SUNNY = '{"weather": "sunny", "temperature": 21}'
GREEDY = {"model": "tiny", "temperature": 0}
NO_THINKING = {"extra_body": {"chat_template_kwargs": {"enable_thinking": False}}}


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=server.url + "/v1", api_key="EMPTY", max_retries=0)


def test_models(client):
    models = client.models.list().data
    assert [m.id for m in models] == ["tiny"]
    assert client.models.retrieve("tiny").max_model_len == 4096
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other/name")


def test_create(client):
    r = client.chat.completions.create(**GREEDY, messages=CAPITAL, **NO_THINKING)
    assert r.choices[0].message.content == "The capital of France is Paris."
    assert r.choices[0].finish_reason == "stop"
    assert r.object == "chat.completion" and r.id.startswith("chatcmpl-")
    assert r.usage.total_tokens == r.usage.prompt_tokens + r.usage.completion_tokens
    assert r.usage.completion_tokens == 8  # the end token counts


def test_raw_response_carries_the_request_id(client):
    raw = client.chat.completions.with_raw_response.create(**GREEDY, messages=CAPITAL, max_tokens=2,
                                                           extra_headers={"X-Request-Id": "abc-1"})
    assert raw.headers["x-request-id"] == "abc-1"
    assert raw.parse().id == "chatcmpl-abc-1"


def test_thinking_comes_under_both_names(client):
    message = client.chat.completions.create(**GREEDY, messages=SUM).choices[0].message
    assert message.reasoning and message.reasoning == message.reasoning_content
    assert "think>" not in message.content + message.reasoning


def collect(stream):
    content = reasoning = ""
    calls, finish, usage = {}, None, None
    for chunk in stream:
        if chunk.usage:
            usage = chunk.usage
        for choice in chunk.choices:
            d = choice.delta
            assert not (d.content and getattr(d, "reasoning", None))
            content += d.content or ""
            reasoning += getattr(d, "reasoning", None) or ""
            for c in d.tool_calls or []:
                call = calls.setdefault(c.index, {"id": None, "name": None, "arguments": ""})
                if c.id:
                    assert call["id"] is None and c.type == "function"
                    call.update(id=c.id, name=c.function.name)
                call["arguments"] += c.function.arguments or ""
            assert finish is None or not choice.finish_reason
            finish = finish or choice.finish_reason
    return content, reasoning, calls, finish, usage


@pytest.mark.parametrize("messages", [CAPITAL, SUM, [{"role": "user", "content": "Write a short story about a fox."}]])
@pytest.mark.parametrize("extra", [{}, {"temperature": 1.0, "seed": 5, "top_p": 0.9}])
def test_stream_equals_create(client, messages, extra):
    arguments = {**GREEDY, **extra, "messages": messages}
    whole = client.chat.completions.create(**arguments)
    content, reasoning, _, finish, usage = collect(
        client.chat.completions.create(**arguments, stream=True, stream_options={"include_usage": True}))
    message = whole.choices[0].message
    assert content == (message.content or "")
    assert reasoning == (getattr(message, "reasoning", None) or "")
    assert finish == whole.choices[0].finish_reason
    assert usage.completion_tokens == whole.usage.completion_tokens
    assert usage.completion_tokens_details.reasoning_tokens == whole.usage.completion_tokens_details.reasoning_tokens


def test_parse_with_a_schema(client):
    class Person(pydantic.BaseModel):
        name: str
        age: int
        city: str

    r = client.chat.completions.parse(**GREEDY, messages=[
        {"role": "user", "content": "Mia is 9 years old and lives in Paris. Answer in JSON with name, age and city."}],
        response_format=Person)
    assert r.choices[0].message.parsed == Person(name="Mia", age=9, city="Paris")


@pytest.mark.parametrize("thinking", [True, False])
def test_schema_holds_whatever_the_model_would_say(client, thinking):
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}, "n": {"type": "integer", "minimum": 3, "maximum": 12},
              "kind": {"enum": ["a", "b"]}}, "required": ["ok", "n", "kind"], "additionalProperties": False}
    for seed in range(4):
        r = client.chat.completions.create(model="tiny", temperature=1.5, seed=seed, messages=CAPITAL, max_tokens=200, response_format={
            "type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}},
            extra_body={"chat_template_kwargs": {"enable_thinking": thinking}, "thinking_token_budget": 20})
        assert r.choices[0].finish_reason == "stop"
        value = json.loads(r.choices[0].message.content)
        assert set(value) == {"ok", "n", "kind"} and 3 <= value["n"] <= 12 and value["kind"] in "ab" and isinstance(value["ok"], bool)


@pytest.mark.parametrize("stream", [False, True])
def test_tool_loop(client, weather, stream):
    messages = [{"role": "user", "content": "What is the weather in Paris?"}]
    arguments = {**GREEDY, "tools": [weather]}
    if stream:
        content, _, calls, finish, _ = collect(client.chat.completions.create(**arguments, messages=messages, stream=True))
        calls = [{"id": c["id"], "type": "function", "function": {"name": c["name"], "arguments": c["arguments"]}} for c in calls.values()]
    else:
        choice = client.chat.completions.create(**arguments, messages=messages).choices[0]
        content, finish, calls = choice.message.content, choice.finish_reason, [c.model_dump() for c in choice.message.tool_calls]
    assert finish == "tool_calls" and not content
    assert calls[0]["function"]["name"] == "get_weather" and json.loads(calls[0]["function"]["arguments"]) == {"city": "Paris"}
    messages += [{"role": "assistant", "content": None, "tool_calls": calls},
                 {"role": "tool", "tool_call_id": calls[0]["id"], "content": SUNNY}]
    answer = client.chat.completions.create(**arguments, messages=messages).choices[0]
    assert answer.finish_reason == "stop" and "sunny" in answer.message.content


def test_tool_choice(client, weather):
    other = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {
        "a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a", "b"]}, "strict": True}}
    base = {"model": "tiny", "messages": CAPITAL, "tools": [weather, other], "max_tokens": 300, "temperature": 1.2, "seed": 5}
    for extra in NO_THINKING, {"extra_body": {"thinking_token_budget": 10}}:
        required = client.chat.completions.create(**base, **extra, tool_choice="required").choices[0]
        assert required.finish_reason == "tool_calls" and required.message.tool_calls
        # As its schema has it, though get_weather isn't strict.
        for call in required.message.tool_calls:
            assert set(json.loads(call.function.arguments)) >= ({"city"} if call.function.name == "get_weather" else {"a", "b"})
        named = client.chat.completions.create(**base, **extra, tool_choice={"type": "function", "function": {"name": "add"}}).choices[0]
        assert named.finish_reason == "stop" and [c.function.name for c in named.message.tool_calls] == ["add"]
        arguments = json.loads(named.message.tool_calls[0].function.arguments)
        assert set(arguments) == {"a", "b"} and all(isinstance(v, int) for v in arguments.values())
    none = client.chat.completions.create(**base, tool_choice="none").choices[0]
    assert not none.message.tool_calls


def test_logprobs(client):
    arguments = {**GREEDY, "messages": CAPITAL, "logprobs": True, "top_logprobs": 3, **NO_THINKING}
    r = client.chat.completions.create(**arguments)
    entries = r.choices[0].logprobs.content
    assert len(entries) == r.usage.completion_tokens
    text = b"".join(bytes(e.bytes) for e in entries)
    assert text.startswith(b"The capital of France is Paris.")
    for e in entries:
        assert len(e.top_logprobs) == 3 and e.logprob == e.top_logprobs[0].logprob <= 0
    streamed = [e for chunk in client.chat.completions.create(**arguments, stream=True) for c in chunk.choices
                if c.logprobs for e in c.logprobs.content]
    assert streamed == entries


def test_n_and_seeds(client):
    arguments = {"model": "tiny", "messages": [{"role": "user", "content": "Write a short story about a fox."}], "temperature": 1.3,
                 "max_tokens": 40, **NO_THINKING}
    three = client.chat.completions.create(**arguments, n=3, seed=11).choices
    assert [c.index for c in three] == [0, 1, 2]
    assert len({c.message.content for c in three}) > 1
    again = client.chat.completions.create(**arguments, n=3, seed=11).choices
    assert [c.message.content for c in again] == [c.message.content for c in three]
    assert client.chat.completions.create(**arguments, seed=11).choices[0].message.content == three[0].message.content
    chunks = {}
    for chunk in client.chat.completions.create(**arguments, n=3, seed=11, stream=True):
        for c in chunk.choices:
            chunks[c.index] = chunks.get(c.index, "") + (c.delta.content or "")
    assert [chunks[i] for i in range(3)] == [c.message.content for c in three]


def test_stop_strings_and_limits(client):
    arguments = {**GREEDY, "messages": CAPITAL, **NO_THINKING}
    r = client.chat.completions.create(**arguments, stop=["France", "xyz"]).choices[0]
    assert r.message.content == "The capital of " and r.finish_reason == "stop" and r.stop_reason == "France"
    r = client.chat.completions.create(**arguments, max_tokens=3)
    assert r.choices[0].finish_reason == "length" and r.usage.completion_tokens == 3
    banned = client.chat.completions.create(**arguments, logit_bias={str(client_token(client, " Paris")): -100})
    assert "Paris" not in banned.choices[0].message.content


def client_token(client, text):
    r = client.post("/../tokenize", body={"prompt": text, "add_special_tokens": False}, cast_to=object)
    assert len(r["tokens"]) == 1
    return r["tokens"][0]


def test_completions(client):
    prompt = "Once upon a time, Anna the duck lived in the green hills."
    r = client.completions.create(**GREEDY, prompt=prompt, max_tokens=20, logprobs=2, echo=True)
    assert r.choices[0].text.startswith(prompt) and len(r.choices[0].text) > len(prompt)
    lp = r.choices[0].logprobs
    assert lp.token_logprobs[0] is None and len(lp.tokens) == len(lp.text_offset) == r.usage.total_tokens
    assert "".join(lp.tokens) == r.choices[0].text
    several = client.completions.create(**GREEDY, prompt=[prompt, "The town of Marham is"], n=1, max_tokens=8)
    assert [c.index for c in several.choices] == [0, 1]
    streamed = "".join(c.text for chunk in client.completions.create(**GREEDY, prompt=prompt, max_tokens=20, stream=True) for c in chunk.choices)
    assert prompt + streamed == r.choices[0].text
    scored = client.completions.create(**GREEDY, prompt=prompt, max_tokens=0, echo=True, logprobs=1)
    assert scored.choices[0].logprobs.token_logprobs[1:] == lp.token_logprobs[1:len(scored.choices[0].logprobs.tokens)]


def test_responses(client, weather):
    r = client.responses.create(**GREEDY, input="What is 7 + 12?")
    kinds = [item.type for item in r.output]
    assert kinds == ["reasoning", "message"] and r.status == "completed" and "7 + 12" in r.output_text
    events = list(client.responses.create(**GREEDY, input="What is 7 + 12?", stream=True))
    assert events[0].type == "response.created" and events[-1].type == "response.completed"
    assert [e.sequence_number for e in events] == list(range(len(events)))
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == r.output_text
    flat = {"type": "function", **weather["function"]}
    first = client.responses.create(**GREEDY, input="What is the weather in Paris?", tools=[flat])
    call = next(i for i in first.output if i.type == "function_call")
    assert json.loads(call.arguments) == {"city": "Paris"}
    second = client.responses.create(**GREEDY, tools=[flat], input=[
        {"role": "user", "content": "What is the weather in Paris?"},
        {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments},
        {"type": "function_call_output", "call_id": call.call_id, "output": SUNNY}])
    assert "sunny" in second.output_text


def test_cached_tokens_are_told_and_change_nothing(client):
    long = [{"role": "system", "content": "You are kind. " * 60}, *CAPITAL]
    first = client.chat.completions.create(**GREEDY, messages=long, **NO_THINKING)
    second = client.chat.completions.create(**GREEDY, messages=long, **NO_THINKING)
    assert second.usage.prompt_tokens_details.cached_tokens > first.usage.prompt_tokens // 2
    assert second.choices[0].message.content == first.choices[0].message.content


def test_errors_are_the_clients_own_classes(client):
    for extra, kind, word in [
        ({"temperature": 3}, openai.BadRequestError, "temperature"),
        ({"model": "gpt-4"}, openai.NotFoundError, "tiny"),
        ({"messages": []}, openai.BadRequestError, "messages"),
        ({"messages": [{"role": "user", "content": "x " * 9000}]}, openai.BadRequestError, "maximum context length is 4096 tokens"),
        ({"tool_choice": {"type": "function", "function": {"name": "nope"}}}, openai.BadRequestError, "tool_choice"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": 5}}}}, openai.BadRequestError, "type"),
    ]:
        with pytest.raises(kind) as e:
            client.chat.completions.create(**{**GREEDY, "messages": CAPITAL, **extra})
        assert word in e.value.message, e.value.message


def test_langchain(server):
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI

    @tool
    def get_weather(city: str) -> str:
        """Get the current weather for a city."""
        return "sunny"

    model = ChatOpenAI(base_url=server.url + "/v1", api_key="EMPTY", model="tiny", temperature=0)
    assert "Paris" in model.invoke("What is the capital of France?").content
    call = model.bind_tools([get_weather]).invoke("What is the weather in Paris?").tool_calls[0]
    assert call["name"] == "get_weather" and call["args"] == {"city": "Paris"}
    assert "Paris" in "".join(c.content for c in model.stream("What is the capital of France?"))
