"""The server through Anthropic's own Python client, and as Claude Code uses it."""
import anthropic
import pytest

CAPITAL = [{"role": "user", "content": "What is the capital of France?"}]
# The client has no argument for the temperature any more; the API does.
BASE = {"model": "claude-sonnet-4-5", "max_tokens": 200, "thinking": {"type": "disabled"}, "extra_body": {"temperature": 0}}
TOOL = {"name": "get_weather", "description": "Get the current weather for a city.",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}


@pytest.fixture(scope="module")
def client(server):
    return anthropic.Anthropic(base_url=server.url, api_key="EMPTY", max_retries=0)


def test_create(client):
    r = client.messages.create(**BASE, messages=CAPITAL)
    assert [b.type for b in r.content] == ["text"] and r.content[0].text == "The capital of France is Paris."
    assert r.stop_reason == "end_turn" and r.usage.output_tokens == 8


def test_thinking_block(client):
    r = client.messages.create(**{**BASE, "max_tokens": 2000, "thinking": {"type": "enabled", "budget_tokens": 1024}}, messages=[{"role": "user", "content": "What is 7 + 12?"}])
    assert [b.type for b in r.content] == ["thinking", "text"] and r.content[0].thinking


def test_models(client):
    [model] = client.models.list()
    assert (model.type, model.id, model.display_name, model.max_input_tokens) == ("model", "tiny", "tiny", 4096)
    assert model.created_at.year > 2000 and client.models.retrieve("tiny") == model
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("other")


def test_stream_equals_create(client):
    for messages in CAPITAL, [{"role": "user", "content": "Write a short story about a fox."}]:
        whole = client.messages.create(**BASE, messages=messages)
        with client.messages.stream(**BASE, messages=messages) as stream:
            text = "".join(stream.text_stream)
            final = stream.get_final_message()
        assert text == whole.content[0].text == final.content[0].text
        assert final.stop_reason == whole.stop_reason and final.usage.output_tokens == whole.usage.output_tokens


def test_count_tokens_is_exact(client):
    arguments = {"messages": CAPITAL, "system": "Be brief.", "tools": [TOOL]}
    counted = client.messages.count_tokens(model="claude-x", **arguments).input_tokens
    r = client.messages.create(**{**BASE, "thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 1100}, **arguments)
    assert counted == r.usage.input_tokens + r.usage.cache_read_input_tokens + r.usage.cache_creation_input_tokens


@pytest.mark.parametrize("stream", [False, True])
def test_tool_loop(client, stream):
    messages = [{"role": "user", "content": "What is the weather in Paris?"}]
    arguments = {**BASE, "thinking": {"type": "adaptive"}, "tools": [TOOL]}
    if stream:
        with client.messages.stream(**arguments, messages=messages) as s:
            first = s.get_final_message()
    else:
        first = client.messages.create(**arguments, messages=messages)
    assert first.stop_reason == "tool_use"
    call = next(b for b in first.content if b.type == "tool_use")
    assert call.name == "get_weather" and call.input == {"city": "Paris"}
    messages += [{"role": "assistant", "content": first.content},
                 {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": '{"weather": "sunny", "temperature": 21}'}]}]
    second = client.messages.create(**arguments, messages=messages)
    assert second.stop_reason == "end_turn" and "sunny" in second.content[-1].text


def test_claude_code_session(client):
    """Volatile first system block, cache marks, beta query, a system turn in the middle of the conversation."""
    messages = [{"role": "user", "content": [{"type": "text", "text": "Hello", "cache_control": {"type": "ephemeral"}}]},
                {"role": "assistant", "content": [{"type": "thinking", "thinking": "greet", "signature": ""}, {"type": "text", "text": "Hello!"}]},
                {"role": "system", "content": "The user opened a file."},
                {"role": "user", "content": "What is the capital of France?"}]
    r = client.beta.messages.create(**BASE, messages=messages, system=[{"type": "text", "text": "x-anthropic-billing-header: v=1"},
                                    {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
                                    metadata={"user_id": "u"}, betas=["prompt-caching-2024-07-31"])
    assert r.content[-1].text


def test_stop_sequence(client):
    r = client.messages.create(**BASE, messages=CAPITAL, stop_sequences=["France"])
    assert r.stop_reason == "stop_sequence" and r.stop_sequence == "France" and r.content[0].text == "The capital of "


def test_errors(client):
    with pytest.raises(anthropic.BadRequestError) as e:
        client.messages.create(**{**BASE, "extra_body": {"temperature": 5}}, messages=CAPITAL)
    assert e.value.body["type"] == "error" and e.value.body["error"]["type"] == "invalid_request_error"
    with pytest.raises(anthropic.BadRequestError) as e:
        client.messages.create(**BASE, messages=[{"role": "user", "content": "x " * 9000}])
    assert e.value.body["error"]["message"].startswith("prompt is too long: ")
    with pytest.raises(anthropic.NotFoundError):
        client.messages.create(**{**BASE, "model": "gpt-4"}, messages=CAPITAL)
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(**BASE, messages=[{"role": "user", "content": [
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}}]}])
