"""--hf-overrides: what it changes, against a folder whose config.json was edited by hand."""
import json
import subprocess

import checkpoints
import pytest
from octet_server import OCTET, Server

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}
OVERRIDES = json.dumps({"text_config": {"rope_parameters": YARN}})
LONG = "The quick brown fox jumps over the lazy dog and asks for the way home. " * 6


def run(*arguments):
    return subprocess.run([OCTET, *map(str, arguments)], capture_output=True, text=True, timeout=300)


def edited(folder, rope=YARN, **text):
    """The tiny model with other rope_parameters in its file."""
    model = checkpoints.copy(folder)
    path = model / "config.json"
    config = json.loads(path.read_text())
    config["text_config"]["rope_parameters"].update(rope)
    config["text_config"].update(text)
    path.write_text(json.dumps(config))
    return model


def logprobs(server, model):
    body = {"model": model, "prompt": LONG, "max_tokens": 8, "temperature": 0, "logprobs": 1, "prompt_logprobs": 0}
    choice = server.post("/v1/completions", body)["choices"][0]
    return choice["text"], choice["logprobs"]["token_logprobs"], choice["prompt_logprobs"]


def test_a_longer_context():
    with Server("--hf-overrides", '{"text_config":{"max_position_embeddings":32768}}', "--max-model-len", "20000", "--max-num-seqs", "1") as server:
        assert server.get("/v1/models")["data"][0]["max_model_len"] == 20000
        assert "warning: --hf-overrides" not in server.text()
    # As a variable and with dots; without --max-model-len it is all of it.
    with Server("--hf-overrides.text_config.max_position_embeddings", "18000", "--max-num-seqs", "1") as server:
        assert server.get("/v1/models")["data"][0]["max_model_len"] == 18000
    result = run("serve", "tiny", "--max-model-len", "20000", "--port", "0")
    assert result.returncode == 2
    for word in "20000", "16384", "--hf-overrides", "VLLM_ALLOW_LONG_MAX_MODEL_LEN=1":
        assert word in result.stderr


def test_yarn_is_the_same_as_in_the_file(tmp_path):
    model = str(edited(tmp_path / "yarn"))
    answers = {}
    for name, flags in {"plain": ["tiny"], "overridden": ["tiny", "--hf-overrides", OVERRIDES], "edited": [model]}.items():
        with Server(*flags[1:], "--max-num-seqs", "2", "--served-model-name", "m", model=flags[0]) as server:
            answers[name] = logprobs(server, "m")
    assert answers["overridden"] == answers["edited"]
    assert answers["overridden"][1:] != answers["plain"][1:]


def test_yarn_stretches_the_context(tmp_path):
    model = str(edited(tmp_path / "yarn", {**YARN, "original_max_position_embeddings": 16384}))
    for flags in ["tiny", "--hf-overrides", '{"text_config":{"rope_parameters":{"rope_type":"yarn","factor":4.0}}}'], [model]:
        length = ["--max-num-seqs", "1", "--kv-cache-dtype", "int8"]
        with Server(*flags[1:], *length, "--max-model-len", "65536", model=flags[0]) as server:
            assert server.get("/v1/models")["data"][0]["max_model_len"] == 65536
        result = run("serve", *flags, *length, "--max-model-len", "65537", "--port", "0")
        assert result.returncode == 2 and "65536" in result.stderr


def test_the_other_commands_take_it(tmp_path):
    model = edited(tmp_path / "yarn")
    text = tmp_path / "text.txt"
    text.write_text(LONG * 4)
    measure = ["--text", text, "--context", "512", "--stride", "256", "--json", "--threads", "2"]

    def perplexity(*arguments):
        result = run("perplexity", *arguments, *measure)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    by_flag, by_file, plain = perplexity("tiny", "--hf-overrides", OVERRIDES), perplexity(model), perplexity("tiny")
    assert by_flag["nll"] == by_file["nll"] != plain["nll"]
    # --base is read as it was published: the difference is what YaRN does.
    assert perplexity("tiny", "--hf-overrides", OVERRIDES, "--base", "tiny")["base"]["kl_mean"] > 0
    asked = ["Hello, who are you?", "--temperature", "0", "--max-tokens", "16", "--json"]
    replies = [json.loads(run("chat", *a, *asked).stdout)["text"] for a in (["tiny", "--hf-overrides", OVERRIDES], [model])]
    assert replies[0] == replies[1]


@pytest.mark.parametrize("overrides, words", [
    ("[1]", ["JSON object"]),
    ("{text_config: 1}", []),
    ('{"text_config":{"rope_parameters":{"factor":"x"}}}', ["rope_parameters", "factor", '"x"']),
    ('{"text_config":{"rope_parameters":{"rope_type":"dynamic"}}}', ["rope_type", "yarn", "dynamic"]),
    ('{"text_config":{"max_position_embeddings":0}}', ["max_position_embeddings"]),
    ('{"text_config":7}', ["text_config", "object"]),
])
def test_mistakes_are_told(overrides, words):
    for command in ["serve", "tiny", "--port", "0"], ["chat", "tiny", "hello"]:
        result = run(*command, "--hf-overrides", overrides)
        assert result.returncode == 2, result.stderr
        for word in ["--hf-overrides", *words]:
            assert word in result.stderr


def test_tensors_that_do_not_fit_are_a_damaged_checkpoint():
    for command in ["serve", "tiny", "--port", "0"], ["chat", "tiny", "hello"]:
        result = run(*command, "--hf-overrides", '{"text_config":{"intermediate_size":320}}')
        assert result.returncode == 3 and "mlp" in result.stderr, result.stderr


def test_keys_that_nobody_reads_are_told_once():
    overrides = '{"text_config":{"rope_parmeters":{"factor":4.0,"rope_type":"yarn"}},"max_position_embeddings":9}'
    with Server("--hf-overrides", overrides, "--max-model-len", "2048") as server:
        text = server.text()
    assert text.count("WARNING --hf-overrides") == 2
    assert "text_config.rope_parmeters: octet reads no such key; did you mean `text_config.rope_parameters`?" in text
    assert "max_position_embeddings: octet reads no such key; did you mean `text_config.max_position_embeddings`?" in text


def test_packed_weights_of_other_shapes_stay_apart(tmp_path):
    """The file of packed weights knows the checkpoint's files, not the overrides."""
    cache = tmp_path / "cache"

    def start(*flags):
        result = run("chat", "tiny", "Hello", "--temperature", "0", "--max-tokens", "8", "--json", "--weight-cache", cache, *flags)
        assert result.returncode == 0, result.stderr
        value = json.loads(result.stdout)
        return value["start"]["weights"], value["text"] + value["reasoning"]

    kinds = json.dumps({"text_config": {"num_hidden_layers": 4, "layer_types": None}})
    few = start("--hf-overrides", kinds)
    assert few[0] == "packed" and not list(cache.glob("*"))
    first = start()
    assert first[0] == "packed and cached"
    assert start("--hf-overrides", kinds) == few
    assert start("--hf-overrides", OVERRIDES)[0] == "from the cache"
    assert start() == ("from the cache", first[1])
