"""What a few words say plainly: bare greetings, wishes for thought and for tools, and all that only looks like them."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecast.routing.wishes import _CORE, greets, wants_thought, wants_tools

GREETINGS = [
    *("hi", "Hi!", "HELLO", "hello...", "Hey there :)", "Hi, how are you?", "good morning", "What’s up?", "hi hi hi"),
    *("thanks", "thank you so much!!", "Thanks 😊", "ok thanks", "Great, thank you!", "thx", "Thanks, bye!", "bye"),
    *("Danke schön!", "Guten Morgen", "Grüß Gott", "merci beaucoup", "¡Hola! ¿Qué tal?", "Ciao", "grazie mille"),
    *("obrigado!", "bedankt", "Dzień dobry", "Привет!", "спасибо большое", "teşekkür ederim", "günaydın"),
    *("你好", "你好！", "谢谢。", "こんにちは。", "ありがとうございます！", "안녕하세요", "감사합니다"),
    *("नमस्ते", "धन्यवाद!", "مرحبا", "شكرا جزيلا", "السلام عليكم"),
]
NO_GREETINGS = [
    *("which", "think", "research", "this", "history", "chi", "shi", "hi5", "", " ", "...", "?", "👋👋 2"),
    *("Hi, can you debug this function", "thank you letter to my boss", "Write a thank you note", "hello world"),
    *("say hi in French", "translate hello", "how are you in Polish", "thanks to whom?", "good morning vietnam"),
    *("hi\nfix: x=1", "hi = 5", "print('hello')", "hello.py", "hi 2+2", "hello <b>", "hey /help", "hi {name}"),
    *("ok", "yes", "good", "and", "you", "please", "so then", "great", "now"),
    *("morning routine", "Hi Bob, attached is the contract", "bye bye birdie plot", "the goodbye girl"),
    *("你好世界怎么写", "谢谢怎么翻译成英语", "नमस्ते का मतलब क्या है", "مرحبا كيف اكتب دالة", "こんにちはを英語で"),
]


@pytest.mark.parametrize("text", GREETINGS)
def test_a_bare_greeting_or_thanks_is_one_in_many_languages(text: str) -> None:
    assert greets(text)
    assert greets(f"  {text}\n")


@pytest.mark.parametrize("text", NO_GREETINGS)
def test_what_only_holds_a_greeting_is_none(text: str) -> None:
    assert not greets(text)


@given(st.sampled_from(GREETINGS), st.sampled_from("abcdefgwxz0123456789={}<>[]/\\#$%&@_"))
def test_a_letter_a_digit_or_a_sign_more_makes_it_something_else(text: str, more: str) -> None:
    assert not greets(f"{text} {more}{more}q")


@given(st.text(max_size=120))
def test_any_text_is_judged(text: str) -> None:
    assert greets(text) in (True, False)
    assert wants_thought(text) in (True, False)
    assert wants_tools(text) in (True, False)


def test_no_greeting_is_a_word_of_work() -> None:
    assert not {"help", "code", "test", "fix", "more", "continue", "go on", "yes", "no", "ok", "world"} & _CORE
    assert all(each == each.strip() and "\n" not in each and each for each in _CORE)


@pytest.mark.parametrize(
    "text",
    [
        "Think step by step. What is 17*23?",
        "Why do empires fall? Think carefully about this.",
        "Please think hard: who of the three lies?",
        "Prove rigorously that the square root of 2 is irrational.",
        "Let n be even. Prove rigorously that n^2 is even.",
        "rigorously derive the formula",
        "Reason step by step about this puzzle",
        "think this through: which chair did he choose",
        "Denke gründlich nach: warum fällt der Mond nicht herunter?",
        "Réfléchis étape par étape.",
        "piensa paso a paso, ¿quién miente?",
        "请一步一步思考这个问题",
    ],
)
def test_an_explicit_wish_for_thought_is_heard(text: str) -> None:
    assert wants_thought(text)


@pytest.mark.parametrize(
    "text",
    [
        "step by step guide to baking bread",
        "Explain step by step how to boil an egg",
        "I think step by step plans are dull.",
        "which research do you think of?",
        'Translate "think step by step" into German',
        "Übersetze „Denke gründlich nach“ ins Englische",
        "What does `think hard` do as a flag?",
        "He would think hard before he signed.",
        "Summarize the book Thinking, Fast and Slow",
        "what do you think",
        "I need a deep research paper",
        "draw a conclusion",
        "rigorous training plan",
    ],
)
def test_words_about_thought_are_no_wish_for_it(text: str) -> None:
    assert not wants_thought(text)


def test_a_wish_is_heard_at_both_ends_of_a_long_text_and_not_within() -> None:
    filler = "The river rose and the town was flooded. " * 200
    assert wants_thought(f"Think carefully about this.\n{filler}")
    assert wants_thought(f"{filler}\nThink step by step.")
    assert not wants_thought(f"{filler}\nThink step by step.\n{filler}")


@pytest.mark.parametrize(
    "text",
    [
        "use your tools to find the weather",
        "Please use the search tool to find three hotels in Ghent",
        "look at the files in this folder",
        "can you list all files",
        "open the directory and tell me what is there",
    ],
)
def test_tools_and_files_are_asked_for(text: str) -> None:
    assert wants_tools(text)


@pytest.mark.parametrize(
    "text",
    [
        "look at the files and fix the function",
        "use the search tool to debug this class",
        "read the files main.py and util.py",
        "what tools do I need for a shed?",
        "open a bank account",
        "list the profiles of the founders",
        "I use a tool every day",
    ],
)
def test_code_and_other_tools_are_something_else(text: str) -> None:
    assert not wants_tools(text)


@pytest.mark.parametrize(
    "text",
    ["think " * 200_000, "\n" * 1_000_000, "hi " * 300_000, '"' * 1_000_000, "please, " * 100_000, "a," * 400_000],
)
def test_a_megabyte_costs_no_more_than_a_page(text: str) -> None:
    start = time.process_time()
    for _ in range(3):
        greets(text), wants_thought(text), wants_tools(text)
    assert time.process_time() - start < 0.5
