"""A SETTINGS.md that is read as it is: what its rows become, and that each problem names its line."""

import re
from pathlib import Path

import pytest
from foreign_files import foreign
from hypothesis import given, settings
from hypothesis import strategies as st

from rolecast import config
from rolecast.backends import table
from rolecast.config.categories import Categories
from rolecast.config.importers import import_file, settings_table
from rolecast.config.labels import CATEGORIES, EXTERNAL, TWINS
from rolecast.config.schema import Config
from rolecast.errors import ConfigError

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "conductor" / "SETTINGS.md"
VARIANTS = ("settings-8gb.md", "settings-16gb.md", "settings-mistral.md", "settings-sample.md")
HEADER = "| Category/Area | Best Open Source Model | VRAM/RAM | Technical Model Name | Stay Loaded | Precision |"
RULE = "|---|---|---|---|---|---|"
PHI = "| **Code Review/Debugging** | Phi-2 | ~1.5GB | `microsoft/phi-2` | false | 4-bit |"
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


def load(text: str, **env: str) -> Config:
    return config.read(text, name="SETTINGS.md", env=env, backends=table())


def problems(text: str, **env: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(text, **env)
    return caught.value.problems


def notes_of(folder: Path, text: str) -> list[str]:
    path = folder / "SETTINGS.md"
    path.write_text(text)
    return [line.removeprefix(f"{path}:") for line in config.notes(path, backends=table())]


def rows(*lines: str) -> str:
    return "\n".join(["# Settings", "", HEADER, RULE, *lines, ""])


def row(category: str, model_id: str, stay: str = "false", precision: str = "4-bit") -> str:
    return f"| **{category}** | Some model | ~4GB | `{model_id}` | {stay} | {precision} |"


@pytest.mark.parametrize("name", VARIANTS)
def test_each_documented_table_loads_without_an_import(name: str) -> None:
    loaded = config.load(foreign(name), env={}, backends=table())
    assert loaded.server.surface == "conductor"
    assert loaded.routing.default == "general_reasoning"
    known = Categories.of(loaded)
    lacking = [each for each in CATEGORIES if each != EXTERNAL and known.find(each) is None]
    assert lacking == []
    spelled = set(TWINS) & set(loaded.roles)
    assert spelled == (set() if name == "settings-sample.md" else set(TWINS))


@pytest.mark.parametrize("name", VARIANTS)
def test_a_table_means_the_same_read_directly_and_imported(name: str) -> None:
    imported = config.read(import_file(foreign(name), table()).config_yaml, backends=table())
    assert config.load(foreign(name), env={}, backends=table()) == imported


def test_the_table_that_comes_along_is_the_default_one() -> None:
    mine, documented = (settings_table.read(path.read_text()) for path in (SHIPPED, foreign("settings-8gb.md")))
    said = [(r.category, r.id, r.title, r.memory, r.stays, r.precision) for r in documented.rows]
    assert len(said) == 15
    assert [(r.category, r.id, r.title, r.memory, r.stays, r.precision) for r in mine.rows] == said
    assert not [remark for remark in mine.remarks if remark.grave]
    assert mine.persona is not None
    assert mine.images is not None


def test_one_worker_serves_all_rows_of_a_model_and_stays_if_any_of_them_says_so() -> None:
    loaded = config.load(foreign("settings-mistral.md"), env={}, backends=table())
    mistral = loaded.models["mistralai/Mistral-7B-Instruct-v0.3"]
    assert mistral.pinned
    assert loaded.roles["legal_analysis"] == loaded.roles["legal_document_analysis"] == loaded.roles["summarization"]
    assert not loaded.models["codellama/CodeLlama-7b-hf"].pinned


@pytest.mark.parametrize(
    ("model_id", "precision", "file", "shown"),
    [
        ("microsoft/phi-2", "4-bit", "phi-2.Q4_K_M.gguf", "4-bit"),
        ("microsoft/phi-2", "8-bit", "phi-2.Q8_0.gguf", "8-bit"),
        ("microsoft/phi-2", "FP16", "phi-2.Q8_0.gguf", "8-bit"),
        ("Qwen/Qwen1.5-1.8B-Chat", "8-bit", "qwen1_5-1_8b-chat-q8_0.gguf", "8-bit"),
        (LLAMA, "FP32", "Meta-Llama-3.1-8B-Instruct-f32.gguf", "FP32"),
        ("mistralai/Mistral-7B-Instruct-v0.3", "FP16", "Mistral-7B-Instruct-v0.3.fp16.gguf", "FP16"),
        ("mistralai/Mistral-7B-Instruct-v0.3", "int8", "Mistral-7B-Instruct-v0.3-Q8_0.gguf", "8-bit"),
        ("meta-llama/Llama-3.1-70B-Instruct", "8-bit", "Meta-Llama-3.1-70B-Instruct-Q4_K_M.gguf", "4-bit"),
        ("bartowski/Own-Model-GGUF", "8-bit", "Own-Model-Q8_0.gguf", "8-bit"),
    ],
)
def test_the_precision_chooses_the_file(model_id: str, precision: str, file: str, shown: str) -> None:
    model = load(rows(row("General Reasoning", model_id, precision=precision))).models[model_id]
    assert (model.source.rpartition("/")[2], model.quantization) == (file, shown)


def test_a_precision_that_no_file_has_is_told_with_its_line(tmp_path: Path) -> None:
    told = notes_of(tmp_path, rows(row("General Reasoning", "microsoft/phi-2", precision="FP16")))
    assert told == ["5: models.microsoft/phi-2: FP16 becomes 8-bit, because no GGUF file of it is known"]


def test_two_precisions_of_one_model_are_one_process_of_the_first(tmp_path: Path) -> None:
    text = rows(row("General Reasoning", "microsoft/phi-2"), row("Translation", "microsoft/phi-2", "false", "8-bit"))
    assert load(text).models["microsoft/phi-2"].quantization == "4-bit"
    assert "as 4-bit; 8-bit of other rows is left out" in notes_of(tmp_path, text)[0]


def test_a_repository_that_nobody_knows_may_hold_no_gguf_which_is_said(tmp_path: Path) -> None:
    text = rows(row("General Reasoning", "someone/own-model"))
    assert load(text).models["someone/own-model"].source == "hf:someone/own-model"
    assert "often own-model-GGUF" in notes_of(tmp_path, text)[0]


def test_a_known_model_keeps_what_the_preset_says_of_it() -> None:
    model = load(rows(row("Code Completion", "codellama/CodeLlama-7b-hf"))).models["codellama/CodeLlama-7b-hf"]
    assert (model.context, model.capabilities, model.parameters) == (8192, ["completion", "chat"], "7B")


def test_a_model_that_comes_with_rolecast_may_stand_in_the_table() -> None:
    loaded = load(rows(row("General Reasoning", "smollm2-135m", "true")))
    assert loaded.models["smollm2-135m"].source.startswith("pypi:")
    assert loaded.models["smollm2-135m"].pinned


@pytest.mark.skipif("ctranslate2" not in table(), reason="no backend for translators")
def test_a_translator_whose_conversion_is_known_translates_and_a_chat_model_does_while_it_cannot() -> None:
    loaded = load(
        rows(row("Translation", "facebook/nllb-200-3.3B", "true", "FP16"), row("General Reasoning", "a/b-GGUF"))
    )
    model = loaded.models["facebook/nllb-200-3.3B"]
    assert (model.backend, model.quantization, model.pinned, model.enabled) == ("ctranslate2", "FP16", True, True)
    assert model.source.endswith("/model.bin")
    assert loaded.roles["translation"] == ["facebook/nllb-200-3.3B", "a/b-GGUF"]


def test_a_translator_that_no_engine_can_run_is_disabled_with_a_hint(tmp_path: Path) -> None:
    text = rows(row("General Reasoning", "microsoft/phi-2"), row("Translation", "Helsinki-NLP/opus-mt-en-de"))
    loaded = load(text)
    assert not loaded.models["Helsinki-NLP/opus-mt-en-de"].enabled
    assert loaded.roles["translation"] == ["microsoft/phi-2"]
    assert any(
        "cannot run encoder-decoder models; give translation to a chat model" in n for n in notes_of(tmp_path, text)
    )


# -- sections ----------------------------------------------------------------------------------------------------


def test_the_first_fenced_block_is_the_persona_whatever_stands_around_and_in_it() -> None:
    text = "# S\n## Conversational Persona\nHow it speaks:\n~~~text\n# You are calm.\n\n| a | b |\n~~~\n```\nno\n```\n"
    assert load(text + rows(PHI)).personas.text == "# You are calm.\n\n| a | b |"


def test_without_a_fenced_block_the_text_of_the_section_is_the_persona() -> None:
    text = "## Conversational Persona\n\nSpeak plainly.\n\nAsk.\n\n## Models\n"
    assert load(text + rows(PHI)).personas.text == "Speak plainly.\n\nAsk."


def test_a_table_right_below_the_persona_is_no_part_of_it_as_in_conductors_own_documentation() -> None:
    text = f"## Conversational Persona\nSpeak plainly.\n\n| a |\n\n{HEADER}\n{RULE}\n{PHI}\n\nNotes.\n"
    loaded = load(text)
    assert loaded.personas.text == "Speak plainly.\n\n| a |"
    assert list(loaded.models) == ["microsoft/phi-2"]


def test_words_in_brackets_to_be_filled_in_are_no_persona(tmp_path: Path) -> None:
    text = f"## Conversational Persona\n[Your conversational persona here]\n\n{HEADER}\n{RULE}\n{PHI}\n"
    assert load(text).personas.text == ""
    assert notes_of(tmp_path, text)[0].startswith("1: Conversational Persona: is empty")
    assert load(text.replace("[Your", "[Ada] is your")).personas.text == "[Ada] is your conversational persona here]"


def test_a_persona_without_text_is_none_and_said_so(tmp_path: Path) -> None:
    text = "## Conversational Persona\n```\n```\n" + rows(PHI)
    assert load(text).personas.text == ""
    assert notes_of(tmp_path, text)[0].startswith("1: Conversational Persona: is empty")


def test_a_table_in_a_fenced_block_is_no_table() -> None:
    text = f"```\n{HEADER}\n{RULE}\n{row('Translation', 'a/b')}\n```\n" + rows(PHI)
    assert list(load(text).models) == ["microsoft/phi-2"]


def test_a_row_of_dots_is_no_model() -> None:
    dotted = rows(PHI, "| ... | ... | ... | ... | ... | ... |", "| … |")
    assert list(load(dotted).models) == ["microsoft/phi-2"]


@pytest.mark.parametrize("line", ["url: http://127.0.0.1:8000", "- **url:** `http://127.0.0.1:8000`"])
def test_the_address_of_the_image_server_is_read(line: str) -> None:
    found = settings_table.read(rows(PHI) + f"\n## Diffusiond Settings\n\n{line}\n")
    assert found.images is not None
    assert found.images.text == "http://127.0.0.1:8000"


# -- problems ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (row("Code Review", "phi 2"), "'phi 2' is no technical model name; write it as on Hugging Face, OWNER/NAME"),
        (row("Code Review", ""), "no technical model name; write it as on Hugging Face"),
        (row("Code Review", "a/b/c"), "'a/b/c' is no technical model name"),
        (row("Code Review", "a/b", stay="sometimes"), "Stay Loaded is 'sometimes'; write true or false"),
        (row("Code Review", "a/b", precision="3-bit"), "Precision is '3-bit'; write one of 4-bit, 8-bit, FP16, FP32"),
        ("| **Code Review** | Phi-2 | `a/b` | false | 4-bit |", "has 5 cells, and the header 6"),
        (row("Code Review/Debugging", "a/b"), "the category is already on line 5; keep one of the rows"),
        (row("Code Review", "a/b"), "the category is already on line 5; keep one of the rows"),
    ],
)
def test_what_cannot_be_meant_so_is_refused_with_its_line_and_row(line: str, said: str) -> None:
    found = problems(rows(PHI, line))
    assert [
        each for each in found if re.match(r"SETTINGS\.md:6: row 'Code Review(/Debugging)?': ", each) and said in each
    ]


def test_every_problem_is_told_at_once_in_the_order_of_lines() -> None:
    found = problems(rows(row("Translation", "x"), row("Summarization", "a b"), row("Long Context", "c", "maybe")))
    assert [int(each.split(":")[1]) for each in found] == [6, 7]
    assert problems("# Nothing here\n")[0].startswith("SETTINGS.md: there is no model in it; it needs a table")


def test_a_category_that_is_nearly_one_is_asked_about(tmp_path: Path) -> None:
    told = notes_of(tmp_path, rows(row("General Reasoning", "a/b-GGUF"), row("Code Compleetion", "a/b-GGUF")))
    assert "6: row 'Code Compleetion': is no category" in told[0]
    assert "did you mean 'code_completion'?" in told[0]


def test_an_address_of_images_that_is_none_is_refused_with_its_line() -> None:
    found = problems(rows(PHI) + "\n## Diffusiond Settings\nurl: file:///etc/passwd\n")
    assert len(found) == 1
    assert found[0].startswith("SETTINGS.md:8: Diffusiond Settings: the url is no http:// or https:// address")


def test_variables_have_the_last_word_and_their_problems_name_them() -> None:
    assert load(rows(PHI), ROLECAST_SERVER__PORT="9001").server.port == 9001
    assert load(rows(PHI), ROLECAST_STAND_IN="smollm2-135m").stand_in == "smollm2-135m"
    assert problems(rows(PHI), ROLECAST_SERVER__PORT="no")[0].startswith("ROLECAST_SERVER__PORT: ")
    changed = load(rows(PHI), ROLECAST_MODELS__MICROSOFT_PHI_2__CONTEXT="1024")
    assert changed.models["microsoft/phi-2"].context == 1024


def test_a_warning_about_a_model_names_the_line_of_its_row(tmp_path: Path) -> None:
    path = tmp_path / "SETTINGS.md"
    path.write_text(rows(PHI))
    assert config.located(["models.microsoft/phi-2.source: gone"], path, env={}) == [
        f"{path}:5: models.microsoft/phi-2.source: gone"
    ]


CELLS = st.sampled_from(
    ["", "a/b", "`x`", "true", "**Translation**", "Code Review", "...", "4-bit", "\\|", "diffusiond"]
)


@given(st.lists(st.lists(CELLS, min_size=1, max_size=8), max_size=5), st.booleans())
@settings(max_examples=150, deadline=None)
def test_a_table_of_nonsense_is_refused_or_loads_and_never_breaks(table_rows: list[list[str]], fenced: bool) -> None:
    text = rows(*("| " + " | ".join(cells) + " |" for cells in table_rows)) + ("```" if fenced else "")
    try:
        found = [] if load(text).models else ["no models"]
    except ConfigError as error:
        found = [each for each in error.problems if not each.startswith("SETTINGS.md:")]
    assert found == []
