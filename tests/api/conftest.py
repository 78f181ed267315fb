import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from octet_server import Server  # noqa: E402


@pytest.fixture(scope="session")
def server():
    """One server for every test that needs no flags of its own."""
    with Server("--max-num-seqs", "16", "--max-model-len", "4096") as s:
        yield s


WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Get the current weather for a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}


@pytest.fixture
def weather():
    return WEATHER
