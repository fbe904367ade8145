"""Languages by all the names they go by, and what is said of a name that is none."""

import csv
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecast.tasks.translation.detect import detect
from rolecast.tasks.translation.languages import UnknownLanguageError, find, languages

# What Conductor's translator lists, by name and NLLB's code.
CONDUCTORS = {
    "english": "eng_Latn",
    "spanish": "spa_Latn",
    "french": "fra_Latn",
    "german": "deu_Latn",
    "chinese": "zho_Hans",
    "japanese": "jpn_Jpan",
    "korean": "kor_Hang",
    "arabic": "arb_Arab",
    "hindi": "hin_Deva",
    "russian": "rus_Cyrl",
}


def test_there_are_the_languages_of_nllb_and_some_more() -> None:
    known = languages()
    assert sum(each.in_nllb for each in known.values()) == 202
    assert not known["lat_Latn"].in_nllb
    assert all(len(code) == 8 and code[3] == "_" for code in known)


def test_every_name_in_the_table_finds_its_own_language() -> None:
    text = resources.files("rolecast").joinpath("data", "languages.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        words = [row["code"], row["name"], row["own_name"], *row["tags"].split(), *row["also"].split(";")]
        for word in filter(None, words):
            assert find(word).code == row["code"], word
            assert find(f" {word.upper()} ").code == row["code"], word


@pytest.mark.parametrize(("word", "code"), CONDUCTORS.items())
def test_conductors_names_are_known(word: str, code: str) -> None:
    assert find(word).code == code == find(code).code


@pytest.mark.parametrize(
    ("word", "code", "shown"),
    [
        ("pt-BR", "por_Latn", "Portuguese (Brazil)"),
        ("pt_br", "por_Latn", "Portuguese (Brazil)"),
        ("Brazilian Portuguese", "por_Latn", "Portuguese (Brazil)"),
        ("zh-Hant", "zho_Hant", "Traditional Chinese"),
        ("zh-Hant-TW", "zho_Hant", "Traditional Chinese"),
        ("zh-TW", "zho_Hant", "Traditional Chinese"),
        ("zh-CN", "zho_Hans", "Simplified Chinese"),
        ("en_US", "eng_Latn", "English (United States)"),
        ("es-419", "spa_Latn", "Spanish (Latin America)"),
        ("sr-Latn", "srp_Latn", "Serbian (Latin script)"),
        ("ger", "deu_Latn", "German"),
        ("de-XX", "deu_Latn", "German"),
        ("Ελληνικά", "ell_Grek", "Greek"),
        ("Español", "spa_Latn", "Spanish"),
        ("espanol", "spa_Latn", "Spanish"),
        ("norsk bokmål", "nob_Latn", "Norwegian Bokmål"),
        ("farsi", "pes_Arab", "Persian"),
    ],
)
def test_a_language_is_found_by_any_of_its_names(word: str, code: str, shown: str) -> None:
    assert (find(word).code, find(word).shown) == (code, shown)


@pytest.mark.parametrize(("word", "near"), [("germn", "German"), ("spansih", "Spanish"), ("Portugese", "Portuguese")])
def test_a_slip_is_met_with_what_was_meant(word: str, near: str) -> None:
    with pytest.raises(UnknownLanguageError, match=near):
        find(word)


@given(st.text(max_size=80))
def test_any_word_is_a_language_or_is_said_to_be_none(word: str) -> None:
    try:
        found = find(word).code
    except UnknownLanguageError as error:
        found, said = "", str(error)
    assert found in languages() or 0 < len(said) < 300


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Hello, how are you today?", "eng_Latn"),
        ("Καλημέρα σας", "ell_Grek"),
        ("你好,这个国家的学生", "zho_Hans"),
        ("這個國家的學生很好", "zho_Hant"),
        ("سلام، حال شما چطور است؟ من گفتم که می‌خواهم بروم", "pes_Arab"),
        ("مرحبا كيف حالك اليوم", "arb_Arab"),
        ("Это хорошая книга, я её читал", "rus_Cyrl"),
        ("שלום לכולם", "heb_Hebr"),
        ("สวัสดีครับ", "tha_Thai"),
        ("வணக்கம்", "tam_Taml"),
    ],
)
def test_the_script_tells_the_language(text: str, code: str) -> None:
    found = detect(text)
    assert found is not None
    assert found.code == code


@pytest.mark.parametrize("text", ["", "42 !!", "xq zzt", "\n\n"])
def test_what_says_nothing_is_no_language(text: str) -> None:
    assert detect(text) is None
