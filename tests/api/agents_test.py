"""Requests in the form in which agents send them: whole histories, many tools, fields that only they know."""
import json

import pytest

# Of the form, the fields and the names; the texts are ours. docs/serving-acceptance.md says which programs were run.
SHELL = {"type": "object", "additionalProperties": False, "required": ["cmd"], "properties": {
    "cmd": {"type": "string", "description": "The command."}, "login": {"type": "boolean"}, "tty": {"type": "boolean"},
    "prefix_rule": {"type": "array", "items": {"type": "string"}}, "yield_time_ms": {"type": "number"},
    "sandbox_permissions": {"type": "string", "enum": ["use_default", "require_escalated"]}}}
CITY = {"type": "object", "required": ["city"], "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}}}


def frames(server, path, body):
    with server.open("POST", path, json.dumps(body).encode()) as r:
        text = r.read().decode()
    out = []
    for frame in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in frame.split("\n") if ": " in line)
        if "data" in lines and lines["data"] != "[DONE]":
            out.append((lines.get("event"), json.loads(lines["data"])))
    return out


def text(role, *texts, kind="input_text"):
    return {"type": "message", "id": "msg_1", "role": role, "content": [{"type": kind, "text": t} for t in texts]}


def codex(items, **more):
    """Codex 0.163: the whole history each time, nothing stored, MCP servers and agents as namespaces."""
    tools = [{"type": "function", "name": "exec_command", "description": "Runs a command.", "strict": False, "parameters": SHELL},
             {"type": "function", "name": "get_goal", "description": "The goal.", "strict": False,
              "parameters": {"type": "object", "properties": {}, "required": [], "additionalProperties": False}},
             {"type": "namespace", "name": "multi_agent_v1", "description": "Tools for agents.", "tools": [
                 {"type": "function", "name": "close_agent", "description": "Closes one.", "strict": False, "parameters": {
                     "type": "object", "properties": {"target": {"type": "string"}}, "required": ["target"], "additionalProperties": False}}]},
             {"type": "namespace", "name": "mcp__weather", "description": "Weather of two cities.", "tools": [
                 {"type": "function", "name": "get_weather", "description": "Get the current weather for a city.", "strict": False, "parameters": CITY}]},
             {"type": "custom", "name": "apply_patch", "description": "Changes files.",
              "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"}},
             {"type": "web_search", "external_web_access": False}]
    return {"model": "tiny", "stream": True, "store": False, "parallel_tool_calls": True, "tool_choice": "auto", "max_output_tokens": 60,
            "temperature": 0, "reasoning": {"summary": "auto"}, "include": ["reasoning.encrypted_content"], "prompt_cache_key": "0198-abc",
            "client_metadata": {"session_id": "0198-abc", "x-codex-turn-metadata": "{\"turn_id\":\"1\"}"}, "tools": tools,
            "input": [text("developer", "You are a coding agent."), text("developer", "<skills>none</skills>", "<permissions>all</permissions>"),
                      text("user", "<environment_context>\n  <cwd>/src</cwd>\n</environment_context>"), *items], **more}


def checked(events):
    assert [e["sequence_number"] for _, e in events] == list(range(len(events)))
    assert all(name == e["type"] for name, e in events)
    assert events[0][0] == "response.created"
    return events[-1][1]["response"]


def test_codex(server):
    history = [text("user", "List the files."),
               {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "I list them."}], "encrypted_content": ""},
               {"type": "function_call", "id": "fc_1", "status": "completed", "call_id": "call_1", "name": "exec_command", "arguments": "{\"cmd\": \"ls\"}"},
               {**text("assistant", "I look.", kind="output_text"), "status": "incomplete"},
               {"type": "function_call_output", "id": "fco_1", "call_id": "call_1", "output": "README.md\nsrc"},
               {"type": "custom_tool_call", "id": "ctc_1", "status": "completed", "call_id": "call_2", "name": "apply_patch", "input": "+a"},
               {"type": "custom_tool_call_output", "call_id": "call_2", "output": "Done"},
               text("assistant", "README.md and src.", kind="output_text"), text("user", "What is the capital of France?")]
    done = checked(frames(server, "/v1/responses", codex(history)))
    assert done["status"] in ("completed", "incomplete") and done["usage"]["output_tokens"] > 0 and done["output"]


def test_codex_calls_an_mcp_server(server):
    question = text("user", "What is the weather in Paris?")
    forced = codex([question], tool_choice={"type": "function", "name": "get_weather"}, reasoning={"effort": "none"}, max_output_tokens=200)
    done = checked(frames(server, "/v1/responses", forced))
    [call] = done["output"]
    assert (call["type"], call["namespace"], call["name"], call["status"]) == ("function_call", "mcp__weather", "get_weather", "completed")
    assert json.loads(call["arguments"])["city"] in ("Paris", "Rome")
    result = {"type": "function_call_output", "id": "fco_1", "call_id": call["call_id"], "output": "Wall time: 0.1 seconds\nOutput:\nsunny"}
    second = checked(frames(server, "/v1/responses", codex([question, call, result])))
    # The call is in the prompt as it was written: all before its result comes from the cache.
    assert second["usage"]["input_tokens_details"]["cached_tokens"] > done["usage"]["input_tokens"] - 64


def test_codex_hears_that_its_prompt_is_too_long(server):
    """Any other answer would end its session; this one makes it shorter."""
    done = checked(frames(server, "/v1/responses", codex([text("user", "word " * 5000)])))
    assert done["status"] == "failed" and done["error"]["code"] == "context_length_exceeded"


def claude_code(messages, tools=(), **more):
    """Claude Code 2.1.332: reminders in the user's turn, its surroundings as a system turn after it, tools that come later."""
    bash = {"name": "Bash", "description": "Runs a command.", "input_schema": {
        "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "required": ["command"], "additionalProperties": False,
        "properties": {"command": {"type": "string"}, "timeout": {"type": "number"}, "run_in_background": {"type": "boolean"}}}}
    search = {"name": "ToolSearch", "description": "Loads tools.", "input_schema": {"type": "object", "properties": {
        "query": {"type": "string"}, "max_results": {"default": 5, "type": "number"}}, "required": ["query"], "additionalProperties": False}}
    placeholder = {"name": "DeferredToolPlaceholder", "description": "Never called.", "input_schema": {"type": "object", "properties": {}}, "defer_loading": True}
    first = [{"role": "user", "content": [{"type": "text", "text": "<system-reminder>\nSkills follow.\n</system-reminder>"}, {"type": "text", "text": "What is the weather in Paris?"}]},
             {"role": "system", "content": [{"type": "text", "text": "# Environment\nLinux", "cache_control": {"type": "ephemeral"}}], "output_config": {"effort": "medium"}}]
    return {"model": "claude-opus-5-5", "max_tokens": 60, "temperature": 0, "stream": True, "tools": [bash, search, *tools, placeholder],
            "metadata": {"user_id": "{\"device_id\":\"0\"}"}, "thinking": {"type": "adaptive", "display": "omitted"}, "output_config": {"effort": "medium"},
            "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
            "system": [{"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.332.342; cc_entrypoint=cli;"},
                       {"type": "text", "text": "You are an agent.", "cache_control": {"type": "ephemeral"}}],
            "messages": [*first, *messages], **more}


def messages_of(server, body):
    """(message_start's message, final delta) of a stream, whose frames are checked."""
    with server.open("POST", "/v1/messages?beta=true", json.dumps(body).encode(), {
            "anthropic-version": "2023-06-01", "anthropic-beta": "claude-code-20250219,per-turn-control-2026-07-01", "Authorization": "Bearer none"}) as r:
        events = [json.loads(line[6:]) for line in r.read().decode().splitlines() if line.startswith("data: ")]
    assert events[0]["type"] == "message_start" and [e["type"] for e in events[-2:]] == ["message_delta", "message_stop"]
    starts = [e for e in events if e["type"] == "content_block_start"]
    assert [e["index"] for e in starts] == list(range(len(starts))) and starts
    return events[0]["message"], events[-2]


LATE = {"name": "mcp__weather__get_weather", "description": "Get the current weather for a city.", "input_schema": CITY, "defer_loading": True}
SEARCHED = [{"role": "assistant", "content": [{"type": "thinking", "thinking": "I search.", "signature": ""},
                                              {"type": "tool_use", "id": "toolu_1", "name": "ToolSearch", "input": {"query": "select:mcp__weather__get_weather"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "tool_reference", "tool_name": LATE["name"]}]},
                                         {"type": "text", "text": "Tool loaded.", "cache_control": {"type": "ephemeral"}}]}]


def test_claude_code(server):
    _, end = messages_of(server, claude_code([]))
    assert end["delta"]["stop_reason"] in ("end_turn", "max_tokens", "tool_use") and end["usage"]["output_tokens"] > 0
    body = claude_code(SEARCHED, [LATE])
    counted = server.post("/v1/messages/count_tokens?beta=true", {k: body[k] for k in ("model", "messages", "tools", "system", "thinking")})
    assert counted["input_tokens"] > 100


def test_claude_code_loads_a_tool(server):
    """What was there before the tool is still the prompt's beginning."""
    first, _ = messages_of(server, claude_code([]))
    total = first["usage"]["input_tokens"] + first["usage"]["cache_read_input_tokens"]
    body = claude_code(SEARCHED, [LATE], tool_choice={"type": "tool", "name": LATE["name"]}, thinking={"type": "disabled"}, max_tokens=200)
    second, end = messages_of(server, body)
    assert end["delta"]["stop_reason"] == "tool_use"
    assert second["usage"]["cache_read_input_tokens"] > total - 64


def test_claude_codes_billing_line_keeps_the_cache(server):
    body = claude_code([], thinking={"type": "disabled"})
    messages_of(server, body)
    body["system"][0]["text"] = "x-anthropic-billing-header: cc_version=2.1.332.999; cc_entrypoint=cli; cch=12345;"
    again, _ = messages_of(server, body)
    # All but the last page.
    assert again["usage"]["input_tokens"] <= 64 < again["usage"]["cache_read_input_tokens"]


def test_claude_code_hears_that_the_context_is_full(server):
    room = 4096 - server.post("/v1/messages/count_tokens", {"model": "tiny", "messages": [{"role": "user", "content": "word " * 1900}]})["input_tokens"]
    body = {"model": "tiny", "max_tokens": 128000, "messages": [{"role": "user", "content": "word " * 1900}], "stream": True, "temperature": 0, "ignore_eos": True}
    _, end = messages_of(server, body)
    assert end["delta"]["stop_reason"] == "model_context_window_exceeded" and end["usage"]["output_tokens"] == room


def test_claude_code_changes_tools_in_the_middle(server):
    change = {"role": "system", "content": [
        {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": {k: v for k, v in LATE.items() if k != "defer_loading"}}},
        {"type": "tool_removal", "tool": {"type": "tool_reference", "name": "ToolSearch"}}]}
    said = [{"role": "assistant", "content": [{"type": "text", "text": "Hm."}]}, {"role": "user", "content": "Once more."}]
    _, end = messages_of(server, claude_code([*said, change], tool_choice={"type": "tool", "name": LATE["name"]}, thinking={"type": "disabled"}, max_tokens=200))
    assert end["delta"]["stop_reason"] == "tool_use"


@pytest.mark.parametrize("messages", [
    # Cline and Qwen Code: text parts everywhere, an assistant turn with text before its call, results as parts.
    [{"role": "system", "content": [{"type": "text", "text": "You are an agent."}]},
     {"role": "user", "content": [{"type": "text", "text": "<task>Count</task>"}, {"type": "text", "text": "<environment_details>x</environment_details>"}]},
     {"role": "assistant", "content": [{"type": "text", "text": "I look."}], "tool_calls": [
         {"id": "c1", "type": "function", "index": 0, "function": {"name": "read_file", "arguments": ""}}]},
     {"role": "tool", "tool_call_id": "c1", "name": "read_file", "content": [{"type": "text", "text": "3 lines"}]}],
    # OpenCode after its history was cut: the first turn is a tool's.
    [{"role": "system", "content": "You are an agent."}, {"role": "tool", "tool_call_id": "gone", "content": "ok"}, {"role": "user", "content": "Go on"}],
    # Open WebUI: empty assistant turn of an answer that was stopped.
    [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": ""}, {"role": "user", "content": "Hello?"}],
    # LibreChat and others: names, a developer turn, arguments as an object.
    [{"role": "developer", "content": "Be brief.", "name": "admin"}, {"role": "user", "content": "Hi", "name": "anna"},
     {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}]},
     {"role": "tool", "tool_call_id": "c", "content": "1"}, {"role": "system", "content": "A late note."}, {"role": "user", "content": "And?"}],
])
def test_histories_of_agents(server, messages):
    tools = [{"type": "function", "function": {"name": "read_file", "parameters": {"type": "object", "properties": {"path": {"type": "string"}}}}}]
    for stream in False, True:
        body = {"model": "tiny", "messages": messages, "tools": tools, "max_tokens": 8, "stream": stream, "temperature": 0, "user": "u", "store": False,
                "metadata": {"a": "b"}, "parallel_tool_calls": True, "service_tier": "auto", "x_unknown": {"deep": [1]}}
        if stream:
            assert frames(server, "/v1/chat/completions", body)[-1][1]["choices"][0]["finish_reason"]
        else:
            assert server.post("/v1/chat/completions", body)["usage"]["completion_tokens"] > 0
