"""Requests in the shape in which agents send them: whole histories, many tools, fields that only they know."""
import json

import pytest

SHELL = {"type": "object", "additionalProperties": False, "required": ["command"], "properties": {
    "command": {"type": "string", "description": "Script for the user's shell."}, "login": {"type": "boolean"},
    "prefix_rule": {"type": "array", "items": {"type": "string"}}, "timeout_ms": {"type": "number"},
    "sandbox_permissions": {"type": "string", "enum": ["use_default", "require_escalated"]}}}
PLAN = {"type": "object", "required": ["plan"], "properties": {"explanation": {"type": "string"}, "plan": {"type": "array", "items": {
    "type": "object", "required": ["step", "status"], "properties": {
        "step": {"type": "string"}, "status": {"type": "string", "enum": ["pending", "in_progress", "completed"]}}}}}}


def frames(server, path, body):
    with server.open("POST", path, json.dumps(body).encode()) as r:
        text = r.read().decode()
    out = []
    for frame in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in frame.split("\n") if ": " in line)
        if "data" in lines and lines["data"] != "[DONE]":
            out.append((lines.get("event"), json.loads(lines["data"])))
    return out


def test_codex(server):
    """Codex: Responses API, the whole history each time, nothing stored, built-in tools beside functions."""
    body = {"model": "tiny", "instructions": "You are a coding agent.", "stream": True, "store": False, "max_output_tokens": 60,
            "parallel_tool_calls": True, "tool_choice": "auto", "reasoning": {"effort": "medium", "summary": "auto"},
            "include": ["reasoning.encrypted_content"], "prompt_cache_key": "0198-abc", "text": {"verbosity": "low"}, "temperature": 0,
            "tools": [{"type": "function", "name": "shell_command", "description": "Runs a command.", "strict": False, "parameters": SHELL},
                      {"type": "function", "name": "update_plan", "description": "Updates the plan.", "strict": False, "parameters": PLAN},
                      {"type": "web_search", "external_web_access": True}],
            "input": [{"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "<permissions>all</permissions>"},
                                                                           {"type": "input_text", "text": "<mode>default</mode>"}]},
                      {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "List the files."}]},
                      {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "I list them."}], "encrypted_content": ""},
                      {"type": "function_call", "call_id": "call_1", "name": "shell_command", "arguments": "{\"command\": \"ls\"}"},
                      {"type": "function_call_output", "call_id": "call_1", "output": "README.md\nsrc"},
                      {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "README.md and src."}]},
                      {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "What is the capital of France?"}]}]}
    events = frames(server, "/v1/responses", body)
    assert [e["sequence_number"] for _, e in events] == list(range(len(events)))
    assert all(name == e["type"] for name, e in events)
    assert events[0][0] == "response.created" and events[-1][0] in ("response.completed", "response.incomplete")
    done = events[-1][1]["response"]
    assert done["usage"]["output_tokens"] > 0 and done["output"]


def test_claude_code(server):
    """Claude Code: reminders in the user's turn, tool results, thinking sent back, marks for the cache."""
    tools = [{"name": "Bash", "description": "Runs a command.", "input_schema": {
        "$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "required": ["command"], "additionalProperties": False,
        "properties": {"command": {"type": "string"}, "timeout": {"type": "number", "exclusiveMinimum": 0, "maximum": 600000}}},
        "cache_control": {"type": "ephemeral"}},
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}]
    body = {"model": "claude-opus-4-5", "max_tokens": 60, "temperature": 0, "stream": True, "tools": tools, "tool_choice": {"type": "auto"},
            "metadata": {"user_id": "user_x"}, "thinking": {"type": "enabled", "budget_tokens": 31999}, "context_management": {"edits": []},
            "system": [{"type": "text", "text": "You are a coding agent.", "cache_control": {"type": "ephemeral"}}],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "<system-reminder>\nSkills follow.\n</system-reminder>\n"}, {"type": "text", "text": "List the files"}]},
                {"role": "assistant", "content": [{"type": "thinking", "thinking": "I list them.", "signature": ""},
                                                  {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "ls -la"}}]},
                {"role": "user", "content": [{"tool_use_id": "toolu_1", "type": "tool_result", "content": "total 8\nREADME.md", "is_error": False}]},
                {"role": "assistant", "content": [{"type": "text", "text": "There is a README."}]},
                {"role": "user", "content": [{"type": "text", "text": "What is the capital of France?", "cache_control": {"type": "ephemeral"}}]}]}
    with server.open("POST", "/v1/messages?beta=true", json.dumps(body).encode(), {
            "anthropic-version": "2023-06-01", "anthropic-beta": "claude-code-20250219", "x-api-key": "k"}) as r:
        text = r.read().decode()
    names = [line[7:] for line in text.splitlines() if line.startswith("event: ")]
    assert names[0] == "message_start" and names[-2:] == ["message_delta", "message_stop"]
    starts = [json.loads(line[6:])["index"] for line in text.splitlines() if line.startswith('data: {"type":"content_block_start"')]
    assert starts == list(range(len(starts))) and starts
    assert server.post("/v1/messages/count_tokens", {k: body[k] for k in ("model", "messages", "tools", "system")})["input_tokens"] > 100


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
