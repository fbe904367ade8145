"""What programs put around the words of people, and what they ask for beside a conversation: neither misleads."""

import time
from pathlib import Path
from typing import Any

import pytest
from gateway import Gate, on_uvloop, request, running_gateway
from hypothesis import given
from hypothesis import strategies as st
from test_routed import settings, why

from rolecast.config import names
from rolecast.decision import Card, Facts
from rolecast.routing import build, facts, harness
from rolecast.turn import conversation
from rolecast.values import Caller, Chat, Message, Part, Tool

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop

ASK = "Prove that there are infinitely many primes"
CODE = "Refactor this Python class so that it has no global state"
REMINDER = "<system-reminder>\nContents of CLAUDE.md: run pytest, refactor step by step, mypy.\n</system-reminder>"
PLACE = "<environment_details>\n# Open tabs\nsrc/app.py,tests/test_app.py\n# Mode\ncode\n</environment_details>"
RULES = "# AGENTS.md instructions for /home/me/shop\n\n<INSTRUCTIONS>\nDebug with logs. Python 3.12.\n</INSTRUCTIONS>"
SANDBOX = "<environment_context>\n  <cwd>/home/me/shop</cwd>\n  <shell>bash</shell>\n</environment_context>"
MAP = "Here are summaries of some files present in my git repository.\n\napp.py:\n│class Shop:\n│    def sell(self)\n"
ADDED = "I have *added these files to the chat* so you can go ahead and edit them.\n\napp.py\n```\nclass Shop: ...\n```"
FOUND = '### Task:\nRespond by the context.\n<context>\n<source id="1">def bake(): ...</source>\n</context>\n\n'
TALK = f"<chat_history>\nUSER: {CODE}\nASSISTANT: ```python\nclass Shop: ...\n```\n</chat_history>"
SIDE = [
    f"### Task:\nGenerate a concise, 3-5 word title with an emoji summarizing the chat history.\n{TALK}",
    f"### Task:\nGenerate 1-3 broad tags categorizing the main themes of the chat history.\n### Chat History:\n{TALK}",
    f"### Task:\nSuggest 3-5 relevant follow-up questions for this conversation.\n{TALK}",
    f"### Task:\nAnalyze the chat history to determine the necessity of search queries.\n{TALK}",
    f"### Task:\nIrgendetwas, wie ein Verwalter es geschrieben hat.\n### Chat History:\n{TALK}",
    "Your task is to reflect the speaker's likely facial expression by an emoji.\n\nMessage: ```debug my code```",
    "Given the following... please reply with a title for the chat that is 3-4 words in length.\n\n" + CODE,
    "Provide a concise, 5-word-or-less title for the conversation.\n\nUser: " + ASK,
    "Please write a 5-10 word title for the following conversation:\n\nUser: " + CODE,
    "Generate a title for this conversation:\n",
]
SYSTEMS = [
    "You are a title generator. You output only a title.\n<task>...</task>",
    "Analyze if this message indicates a new conversation topic. If so, extract a title.",
    "Summarize this coding conversation in under 50 characters.",
    "You are an expert software engineer that generates concise, one-line Git commit messages.",
]
NO_SIDE = [
    "Write a short title for my essay about whales",
    "Implement a function that generates a concise title for a conversation in Python",
    "Generate a React component for the title of a chat",
    "Suggest 5 relevant tags for my blog post about sourdough",
    "Summarize this conversation between two whales",
    "Analyze the history of chat programs",
    "### Task:\nTranslate this into French: good morning",
    "How does Open WebUI write the title of a chat?",
    FOUND + "<user_query>\nWhat is in the <chat_history>?\n</user_query>",
]


@pytest.mark.parametrize(
    "text",
    [
        f"{REMINDER}\n{ASK}",
        f"{REMINDER}\n{REMINDER}\n\n{ASK}\n{REMINDER}",
        f"<task>\n{ASK}\n</task>\n{PLACE}",
        f"[attempt_completion] Result: What the user thinks of it.\n<feedback>\n{ASK}\n</feedback>\n{PLACE}",
        f"<user_message>\n{ASK}\n</user_message>\n\n{PLACE}",
        f"<attachments>def f(): ...</attachments>\n<userRequest>\n{ASK}\n</userRequest>",
        f"{RULES}\n{SANDBOX}\n{ASK}",
        f"{FOUND}<user_query>\n{ASK}\n</user_query>\n",
        f"{FOUND}{ASK}",
        f"  {ASK}\n",
    ],
)
def test_what_programs_put_around_words_is_taken_away(text: str) -> None:
    assert harness.spoken(text) == ASK


@pytest.mark.parametrize(
    "text", [REMINDER, PLACE, RULES, SANDBOX, MAP, ADDED, f"[read_file for 'a.md'] Result:\n# A\n{PLACE}"]
)
def test_what_only_a_program_says_is_said_by_nobody(text: str) -> None:
    assert harness.spoken(text) == ""
    assert not harness.is_spoken(text)


@pytest.mark.parametrize(
    "text",
    [
        "What does <system-reminder>x</system-reminder> mean in my log?",
        "Fix this XML:\n<order><task>do</task>",
        "Fix this XML:\n<task>do</task>",
        "<article>\nThe bridge is closed.\n</article>\n\nSummarize the article.",
        "<system-reminder> is never closed here, why?",
        "</environment_details>",
        "# AGENTS.md instructions\nhow do I write such a file?",
        "[1] Result: what does this footnote say?",
        "### Task:\nTranslate </b> into words",
        "I have a question. Here are my files.",
    ],
)
def test_what_people_write_and_paste_stays(text: str) -> None:
    assert harness.spoken(text) == text


@given(
    st.lists(
        st.sampled_from([REMINDER, PLACE, "<task>", "</task>", "<system-reminder>", "### Task:", "x", "[a] Result:"])
    )
)
def test_any_text_is_taken_and_nothing_is_made_up(pieces: list[str]) -> None:
    text = "\n".join(pieces)
    assert harness.spoken(text) in text
    assert harness.is_side_task(text, pieces) in (True, False)


@pytest.mark.parametrize(
    "piece", ["<system-reminder>", "</system-reminder>", "<task>", "### Task:\n", "[a for ", "title ", "a "]
)
def test_a_megabyte_made_to_be_slow_is_not(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    for each in (
        text,
        "<" + text,
        "<task>" + text + "</feedback>",
        f"Generate {text}",
        f"[a] Result:{text}</feedback>",
    ):
        began = time.perf_counter()
        harness.spoken(each)
        harness.is_side_task(each, [each])
        assert time.perf_counter() - began < 0.25


# -- facts ---------------------------------------------------------------------------------------------------


def of(*said: Message, tools: tuple[Tool, ...] = ()) -> Facts:
    chat = Chat(model="", messages=said, tools=tools)
    return facts.of_words(Facts("", "chat", conversation=conversation.of_chat(Caller(), chat)), chat)


def user(*texts: str) -> Message:
    return Message("user", tuple(Part("text", text=text) for text in texts) if len(texts) > 1 else texts[0])


def assistant(text: str = "Done.") -> Message:
    return Message("assistant", text)


def test_facts_are_those_of_the_persons_words_whatever_an_agent_sends_with_them() -> None:
    agent = Message("system", "You are a coding agent.")
    for said in (
        [user(REMINDER, ASK, REMINDER)],
        [user(f"<task>\n{ASK}\n</task>", PLACE)],
        [user(RULES), user(SANDBOX), user(ASK)],
        [user(MAP), assistant(), user(ADDED), assistant(), user(ASK)],
        [user(f"<task>\n{ASK}\n</task>", PLACE), assistant(), user("[read_file] Result:", "def f(): ...", PLACE)],
        [user(REMINDER, ASK), assistant(), user(REMINDER)],
    ):
        found = of(agent, *said)
        assert (found.text, found.turns, found.code) == (ASK, 1, False)
    assert of(agent, user(REMINDER)).text == ""  # nobody asked; the agent's own words are no question
    assert of(agent, user(REMINDER, CODE)).tokens > of(agent, user(CODE)).tokens  # the model reads it all the same


def test_conversations_of_an_agent_are_told_apart_though_all_begin_alike() -> None:
    first = of(user(MAP), assistant(), user(ADDED), assistant(), user(ASK)).conversation
    later = of(
        user(MAP + "more"), assistant(), user(ASK), assistant(), user(ADDED), assistant(), user(CODE)
    ).conversation
    other = of(user(MAP), assistant(), user(ADDED), assistant(), user(CODE)).conversation
    assert first == later != other


def test_a_conversation_stays_one_when_its_system_prompt_tells_the_time_or_says_more_later() -> None:
    def at(clock: str, *more: Message) -> str:
        return of(Message("system", f"Be brief. It is {clock}."), user(ASK), *more).conversation

    later = at("2026-11-26 09:41", assistant(), Message("system", "Files changed."), user("And twins?"))
    assert at("2026-11-26 09:40") == later
    assert at("noon") != later


@pytest.mark.parametrize("text", SIDE)
def test_a_task_beside_a_conversation_is_known(text: str) -> None:
    found = of(user(text))
    assert (found.background, found.conversation) == (True, "")
    assert "class Shop" not in found.text  # whatever the talk is about, it is not asked here


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_task_beside_a_conversation_is_known_by_the_system_prompt_too(system: str) -> None:
    assert of(Message("system", system), user(CODE)).background


@pytest.mark.parametrize("text", NO_SIDE)
def test_what_a_person_asks_is_no_task_beside_a_conversation(text: str) -> None:
    assert not of(user(text)).background


def test_within_a_conversation_or_with_tools_it_is_none() -> None:
    tool = Tool("look")
    assert not of(user(ASK), assistant(), user(SIDE[0])).background
    assert not of(user(SIDE[0]), tools=(tool,)).background


# -- who answers ---------------------------------------------------------------------------------------------


def test_a_title_does_not_wait_for_a_light_model_to_load_where_the_usual_one_is_there() -> None:
    config = settings("standard", "light")

    def cast(model: str) -> Card:
        return Card(model, ready=model == "m-standard", load_s=0.0 if model == "m-standard" else 90.0, quality=0.5)

    router = build(names.table(config), config)
    aside = Facts("", "chat", text="### Task:", background=True)
    assert router.choose(aside).model == "m-light"
    assert router.choose(aside, cast).model == "m-standard"
    alone = settings("standard", "coding")
    assert build(names.table(alone), alone).choose(aside).reason == "beside a conversation, so standard"


async def ask(gate: Gate, *messages: dict[str, Any], head: str = "", **fields: Any) -> tuple[str | None, str | None]:
    return why(await gate.ask(request({"model": "auto", "messages": list(messages), **fields}, head=head)))


def typed(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def said(text: str = "Here.") -> dict[str, Any]:
    return {"role": "assistant", "content": text}


async def test_an_agents_question_goes_where_the_same_question_of_a_person_goes(tmp_path: Path) -> None:
    async with running_gateway(settings("standard", "router", "reasoning", "coding"), tmp_path) as gate:
        for text, model in ((ASK, "m-reasoning"), (CODE, "m-coding"), ("good morning", "m-router")):
            assert (await ask(gate, typed(text)))[0] == model
            for around in (f"{REMINDER}\n{text}\n{REMINDER}", f"<task>\n{text}\n</task>\n{PLACE}", f"{FOUND}{text}"):
                assert (await ask(gate, typed(around)))[0] == model, around


async def test_a_title_between_two_turns_of_a_session_goes_light_and_moves_the_talk_nowhere(tmp_path: Path) -> None:
    head = "x-session-id: chat-1\r\n"
    async with running_gateway(settings("standard", "router", "reasoning", "coding"), tmp_path) as gate:
        assert (await ask(gate, typed(CODE), head=head))[0] == "m-coding"
        for text in SIDE:
            aside = await ask(gate, typed(text), head=head)
            assert aside == ("m-router", "rule; beside a conversation, so router")
        assert (await ask(gate, typed(CODE), said(), typed("and shorter?"), head=head))[0] == "m-coding"
        rows = await gate.rows()
        assert not any("class Shop" in str(row) for row in rows)


async def test_a_question_in_one_conversation_of_an_agent_is_not_answered_as_in_another(tmp_path: Path) -> None:
    opening = (typed(MAP), said("Ok."), typed(ADDED), said("Ok."))
    async with running_gateway(settings("standard", "router", "reasoning", "coding"), tmp_path) as gate:
        assert (await ask(gate, *opening, typed("hi")))[0] == "m-router"
        assert (await ask(gate, *opening, typed("what does sell do?")))[0] == "m-standard"
