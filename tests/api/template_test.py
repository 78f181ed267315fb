"""What reaches the chat template: the form of contents, and how long prompts are cut."""
import json

import pytest
from octet_server import Server

TURN = "{% for m in messages %}<|im_start|>{{ m.role }}\nCONTENT<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
STRINGS = TURN.replace("CONTENT", "{{ m['content'] }}")
BOTH = TURN.replace("CONTENT", "{% if m.content is string %}[{{ m.content }}]{% else %}{% for c in m.content %}({{ c.text }}){% endfor %}{% endif %}")
TWO = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]


def rendered(server, content, **fields):
    ids = server.post("/tokenize", {"messages": [{"role": "user", "content": content}], **fields})["tokens"]
    return server.post("/detokenize", {"tokens": ids})["prompt"]


def turn(text):
    return f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant"  # Jinja drops the last line break


@pytest.mark.parametrize("template, form, text, two", [
    (STRINGS, "auto", "a", "one\ntwo"),
    (STRINGS, "string", "a", "one\ntwo"),
    (STRINGS, "openai", None, None),
    (BOTH, "auto", "(a)", "(one)(two)"),
    (BOTH, "string", "[a]", "[one\ntwo]"),
    (BOTH, "openai", "(a)", "(one)(two)"),
])
def test_a_template_gets_the_form_it_takes(template, form, text, two, tmp_path):
    file = tmp_path / "template.jinja"
    file.write_text(template)
    with Server("--chat-template", str(file), "--chat-template-content-format", form, "--max-model-len", "1024") as server:
        if text is None:  # asked for: such a template prints the list
            assert "'type'" in rendered(server, "a")
            return
        assert rendered(server, "a") == turn(text)
        assert rendered(server, TWO) == turn(two)
        answer = server.post("/v1/chat/completions", {"model": "tiny", "messages": [{"role": "user", "content": TWO}], "max_tokens": 4})
        assert answer["usage"]["completion_tokens"] >= 1


def test_the_models_template_writes_both_alike(server):
    assert rendered(server, TWO) == rendered(server, "onetwo")
    assert "onetwo" in rendered(server, TWO)


def test_a_requests_own_template_is_looked_at():
    with Server("--trust-request-chat-template", "--max-model-len", "1024") as server:
        assert rendered(server, TWO, chat_template=STRINGS) == turn("one\ntwo")
        assert rendered(server, TWO, chat_template=BOTH) == turn("(one)(two)")
        assert "onetwo" in rendered(server, TWO)


def test_truncation(server):
    text = " ".join(str(i) for i in range(300))
    for path, prompt in ("/v1/chat/completions", {"messages": [{"role": "user", "content": text}]}), ("/v1/completions", {"prompt": text}):
        def ids(**fields):
            answer = server.post(path, {"model": "tiny", **prompt, "max_tokens": 1, "return_token_ids": True, **fields})
            ids = answer.get("prompt_token_ids") or answer["choices"][0]["prompt_token_ids"]
            assert answer["usage"]["prompt_tokens"] == len(ids)
            return ids

        whole = ids()
        assert len(whole) > 300
        # The end of a prompt is what is asked: it stays unless said otherwise.
        assert ids(truncate_prompt_tokens=50) == ids(truncate_prompt_tokens=50, truncation_side="left") == whole[-50:]
        assert ids(truncate_prompt_tokens=50, truncation_side="right") == whole[:50]
        assert ids(truncate_prompt_tokens=len(whole)) == ids(truncate_prompt_tokens=-1) == whole


def test_truncation_to_the_context(server):
    """-1: what the context (4,096 here) leaves, with one token of an answer."""
    body = {"model": "tiny", "messages": [{"role": "user", "content": "word " * 5000}], "max_tokens": 1}
    assert server.status("POST", "/v1/chat/completions", json.dumps(body).encode())[0] == 400
    assert server.post("/v1/chat/completions", {**body, "truncate_prompt_tokens": -1})["usage"]["prompt_tokens"] == 4095
