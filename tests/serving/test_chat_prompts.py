"""Nothing that is said in a conversation is lost on its way into the prompt: it is read, or refused."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import AutoTokenizer

from routing import chat
from tests.tiny import tiny_llama
from workers.serving.bodies import Called, Message, Tool, ToolCall
from workers.serving.chat_prompts import chat_prompt
from workers.serving.errors import ApiError

# As Qwen 2.5 writes conversations: roles that it does not know leave nothing.
QWEN = """{%- if messages[0]['role'] == 'system' %}<|im_start|>system
{{ messages[0]['content'] }}<|im_end|>
{% endif %}
{%- for message in messages %}
{%- if message.role == "user" or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% elif message.role == "assistant" %}<|im_start|>assistant
{%- for call in message.tool_calls %}<tool_call>{{ call.function.name }} {{ call.function.arguments | tojson }}</tool_call>{% endfor %}<|im_end|>
{% elif message.role == "tool" and tools %}<|im_start|>user
{{ message.content | tojson }}<|im_end|>
{% endif %}{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
ANY_ROLE = (
    "{% for message in messages %}[{{ message.role }}]{{ message.content | trim }}{% endfor %}[assistant]"
)
HARMONY = ANY_ROLE + "{% if messages[0].role == 'developer' %}{% endif %}"
# As Mistral 7B v0.3 does: what the system says stands before what a user says last, or nowhere.
MISTRAL = """{% for message in messages if message.role != "system" %}{{ tools }}
{%- if message.role == "user" %}[INST]{% if loop.last and messages[0].role == "system" %}{{ messages[0].content }}

{% endif %}{{ message.content }}[/INST]
{%- elif message.tool_calls %}[TOOL_CALLS]{{ message.tool_calls | tojson }}
{%- else %}[{{ message.role }}]{{ message.content }}{% endif %}{% endfor %}"""
TOOL = Tool.model_validate({"type": "function", "function": {"name": "weather"}})
CALL = ToolCall(id="1", function=Called(name="weather", arguments='{"place": "Bergen"}'))


def read(template: str | None, *messages: Message, tools: tuple[Tool, ...] = (), **wishes: str) -> str:
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_llama())
    tokenizer.chat_template = template
    return str(tokenizer.decode(chat_prompt(tokenizer, messages, tools, wishes)))


@pytest.mark.parametrize("template", [QWEN, ANY_ROLE, None])
def test_a_developer_is_the_system_where_the_template_names_no_developer(template: str | None) -> None:
    user = Message(role="user", content="Hi")

    told = read(template, Message(role="developer", content="Be brief."), user)

    assert told == read(template, Message(role="system", content="Be brief."), user)
    assert "Be brief." in told


def test_a_developer_stays_one_where_the_template_names_it() -> None:
    assert "[developer]Be brief." in read(HARMONY, Message(role="developer", content=" Be brief. "))


def test_a_message_that_the_template_leaves_out_is_refused_by_its_place_and_role() -> None:
    asked = [
        Message(role="user", content="Rain?"),
        Message(role="tool", content="It rains.", tool_call_id="1"),
    ]

    with pytest.raises(ApiError, match=r"the role 'tool' in message 1, .* leaves out") as refused:
        read(QWEN, *asked)

    assert (refused.value.status, refused.value.param) == (400, "messages")
    assert "It rains." in read(QWEN, *asked, tools=(TOOL,))


def test_calls_that_the_template_leaves_out_are_refused() -> None:
    asked = [Message(role="assistant", content="I look.", tool_calls=[CALL])]

    with pytest.raises(ApiError, match="the role 'assistant' in message 0"):
        read(ANY_ROLE + "{{ tools }}", *asked)

    assert "weather" in read(QWEN, *asked, tools=(TOOL,))  # what is said beside a call may go


def test_what_a_template_leaves_out_of_the_systems_words_stands_before_the_next_users() -> None:
    begun = [Message(role="system", content="Be brief."), Message(role="user", content="Rain?")]
    answered = [
        Message(role="assistant", tool_calls=[CALL]),
        Message(role="tool", content="It rains.", tool_call_id="1"),
    ]

    first, second = read(MISTRAL, *begun), read(MISTRAL, *begun, *answered)

    assert first in second
    assert "[INST]Be brief.\n\nRain?[/INST]" in first
    with pytest.raises(ApiError, match="the role 'system' in message 1"):
        read(MISTRAL, begun[1], begun[0])


def test_thousands_of_messages_are_looked_for_in_one_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search for each would take time by the square of their number."""
    many = [{"role": "user", "content": "a"}, {"role": "nobody", "content": "b"}] * 2_000
    searches: list[str] = []

    class Text(str):
        __slots__ = ()

        def __contains__(self, part: object) -> bool:
            searches.append(str(part))
            return super().__contains__(str(part))

    def rendered(_tokenizer: Any, messages: list[dict[str, str]], *_: Any, **__: Any) -> Text:
        return Text("".join(one["content"] for one in messages if one["role"] == "user"))

    monkeypatch.setattr(chat, "_rendered", rendered)

    lost = chat.left_out(None, many)

    assert lost == list(range(1, 4_000, 2))
    assert searches == []


def test_the_template_is_searched_as_often_for_many_messages_as_for_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    searched: list[str] = []

    def names(_tokenizer: Any, word: str) -> bool:
        searched.append(word)
        return False

    monkeypatch.setattr(chat, "names", names)
    developers = [Message(role="developer", content="Be brief.")] * 50

    told = read(ANY_ROLE, *developers)

    assert told.count("[system]Be brief.") == 50
    assert searched == ["developer"]


def test_messages_without_a_word_need_leave_no_trace() -> None:
    told = read(QWEN, Message(role="user", content="Hi"), Message(role="assistant", content=""))

    assert "Hi" in told


def test_a_wish_reaches_the_template_that_reads_it_and_no_other() -> None:
    asked = Message(role="user", content="Hi")

    assert "Reasoning: low" in read(
        ANY_ROLE + "Reasoning: {{ reasoning_effort }}", asked, reasoning_effort="low"
    )
    assert read(ANY_ROLE, asked, reasoning_effort="low") == read(ANY_ROLE, asked)
