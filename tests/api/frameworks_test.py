"""Frameworks that agents are made with, as they are: a loop with a tool, streams, answers by a schema."""
import asyncio
import typing

import pydantic
import pydantic_ai
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from openai import AsyncOpenAI
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

WEATHER, CAPITAL = "What is the weather in Paris?", "What is the capital of France?"
SETTINGS = {"temperature": 0, "max_tokens": 400}


class City(pydantic.BaseModel):
    # What tiny would write of its own is longer than the test.
    capital: typing.Literal["Paris", "Rome"]


@pytest.mark.parametrize("model", [OpenAIChatModel, OpenAIResponsesModel])
def test_pydantic_ai(server, model):
    asked = []

    def get_weather(city: str) -> str:
        """Get the current weather for a city."""
        asked.append(city)
        return "sunny"

    async def run():
        async with AsyncOpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as client:
            def agent(**more):
                return pydantic_ai.Agent(model("tiny", provider=OpenAIProvider(openai_client=client)), model_settings=SETTINGS, **more)

            result = await agent(tools=[get_weather]).run(WEATHER)
            assert asked == ["Paris"] and result.output and result.usage.requests == 2
            assert result.usage.input_tokens > 0 and result.usage.output_tokens > 0
            async with agent().run_stream(CAPITAL) as stream:
                assert "".join([piece async for piece in stream.stream_text(delta=True)]) == "The capital of France is Paris."
            for output in pydantic_ai.ToolOutput(City), pydantic_ai.NativeOutput(City):
                assert isinstance((await agent(output_type=output).run(CAPITAL)).output, City)

    asyncio.run(run())


def test_langchain_anthropic(server):
    @tool
    def get_weather(city: str) -> str:
        """Get the current weather for a city."""
        return "sunny"

    # The client has no temperature for this name; top_k 1 is the same.
    model = ChatAnthropic(model="claude-x", base_url=server.url, api_key="none", max_tokens=400, max_retries=0, top_k=1)
    with_tool = model.bind_tools([get_weather])
    history = [HumanMessage(WEATHER)]
    pieces = list(with_tool.stream(history))
    call = pieces[0]
    for piece in pieces[1:]:
        call += piece
    assert [(c["name"], c["args"]) for c in call.tool_calls] == [("get_weather", {"city": "Paris"})]
    counted = with_tool.get_num_tokens_from_messages(history, tools=[get_weather])
    assert counted == call.usage_metadata["input_tokens"]
    history += [call, ToolMessage(get_weather.invoke(call.tool_calls[0]["args"]), tool_call_id=call.tool_calls[0]["id"])]
    assert with_tool.invoke(history).text
    assert isinstance(model.with_structured_output(City).invoke(CAPITAL), City)
