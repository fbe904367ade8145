"""Conductor's `SETTINGS.md`: a Markdown table with a model per task category.

Knows which of our settings its rows and sections are, and where their weights come from as GGUF files.
"""

import functools
import re
from collections.abc import Mapping
from typing import Any

from rolecast.config import presets
from rolecast.config.document import parse
from rolecast.config.importers import settings_table
from rolecast.config.importers.draft import Draft, Found
from rolecast.config.importers.section import shown
from rolecast.config.importers.settings_table import Row, Settings
from rolecast.config.labels import GENERAL, spellings
from rolecast.config.labels import category as known_category
from rolecast.config.schema import Config

TITLE = "Conductor SETTINGS.md"
REASONS: dict[str, str] = {}
_ENCODER_DECODER = re.compile(r"nllb|m2m[-_]?100|opus-mt|mbart|(?<![a-z])(bart|pegasus|marian|seamless|madlad|flan-t5)")
_TRANSLATES = "ctranslate2"
"""The backend that runs translators, where there is one."""
_CONVERTED = {
    "facebook/nllb-200-distilled-1.3B": "hf:skywood/nllb-200-distilled-1.3B-ct2-float16/model.bin",
    "facebook/nllb-200-3.3B": "hf:entai2965/nllb-200-3.3B-ctranslate2-float16/model.bin",
}
"""Translators as that backend reads them. It computes in the precision of the row, or the nearest one it can."""
_GGUF: dict[str, dict[str, str]] = {
    "meta-llama/Llama-3.1-8B-Instruct": {
        "4-bit": "hf:bartowski/Meta-Llama-3.1-8B-Instruct-GGUF/Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf",
        "FP32": "hf:bartowski/Meta-Llama-3.1-8B-Instruct-GGUF/Meta-Llama-3.1-8B-Instruct-f32.gguf",
    },
    "mistralai/Mistral-7B-Instruct-v0.3": {
        "4-bit": "hf:bartowski/Mistral-7B-Instruct-v0.3-GGUF/Mistral-7B-Instruct-v0.3-Q4_K_M.gguf",
        "FP16": "hf:MaziyarPanahi/Mistral-7B-Instruct-v0.3-GGUF/Mistral-7B-Instruct-v0.3.fp16.gguf",
    },
    "codellama/CodeLlama-7b-Instruct-hf": {
        "4-bit": "hf:TheBloke/CodeLlama-7B-Instruct-GGUF/codellama-7b-instruct.Q4_K_M.gguf"
    },
    "WizardLM/WizardMath-7B-V1.1": {"4-bit": "hf:TheBloke/WizardMath-7B-V1.1-GGUF/wizardmath-7b-v1.1.Q4_K_M.gguf"},
}
"""Files of the models in Conductor's larger tables by precision; the preset holds those of the default one."""
_SPLIT = frozenset({"meta-llama/Llama-3.1-70B-Instruct"})
"""Whose larger files are in parts, so that their names do not follow from that of the 4-bit file."""
_CONTEXT = 8192
"""Tokens of a slot of those models, as in the preset."""


def fits(found: Found) -> bool:
    """Markdown with a table that has a column of technical model names."""
    return (
        found.value is None
        and re.search(r"^\s*\|.*Technical Model Name.*\|", found.text, re.MULTILINE | re.IGNORECASE) is not None
    )


def fill(found: Found, draft: Draft) -> None:
    """The same as `put`; what is wrong in the file is noted, with what is made of it."""
    settings = settings_table.read(found.text)
    for remark in settings.remarks:
        draft.note(remark.place, f"{remark.text}; {remark.taken}" if remark.taken else remark.text)
    put(settings, draft)


def put(settings: Settings, draft: Draft) -> None:
    """Technical names become models, categories roles (in both spellings), Stay Loaded pinned; persona and images."""
    for row in settings.rows:
        if not row.id:
            continue
        if row.id not in draft.models:
            _add_model(row.id, [each for each in settings.rows if each.id == row.id], draft)
        for spelling in keys(row):
            draft.roles.setdefault(spelling, []).append(row.id)
            draft.kept_roles.add(spelling)
    _add_second_translators(settings, draft)
    draft.default = "general_reasoning"
    draft.surface = "conductor"
    if settings.persona is not None:
        draft.sections["personas"] = {"text": settings.persona.text}
    _put_images(settings, draft)


def keys(row: Row) -> list[str]:
    """The roles of a row: its category as the table spells it, and as replies do."""
    return list(dict.fromkeys([row.key, *spellings(row.key)]))


def _add_second_translators(settings: Settings, draft: Draft) -> None:
    """Who translates while the translator cannot run: the model of general reasoning."""
    general = next((row.id for row in settings.rows if known_category(row.key) == GENERAL), "")
    for row in settings.rows:
        if general and draft.models.get(row.id, {}).get("backend") == _TRANSLATES:
            for key in keys(row):
                draft.roles[key].append(general)


def _put_images(settings: Settings, draft: Draft) -> None:
    known = "images" in Config.__struct_fields__
    if settings.images is not None and known:
        draft.sections["images"] = {"url": settings.images.text}
        return
    for row in settings.rows:
        if not row.id and known_category(row.key):
            how = "give its address under '## Diffusiond Settings', as url:" if known else "images are not forwarded"
            draft.note(row.place, f"is made by an external server; {how}")


def _add_model(model_id: str, rows: list[Row], draft: Draft) -> None:
    place = f"models.{shown(model_id)}"
    precisions = list(dict.fromkeys(row.precision for row in rows if row.precision)) or [""]
    if len(precisions) > 1:
        others = ", ".join(precisions[1:])
        draft.note(place, f"one process serves all of its rows, as {precisions[0]}; {others} of other rows is left out")
    own = None if "/" in model_id else presets.model(model_id)
    converted = _CONVERTED.get(model_id, "") if _TRANSLATES in draft.backends else ""
    translator = not converted and _ENCODER_DECODER.search(model_id.lower()) is not None
    if converted:
        settings: dict[str, Any] = {"source": converted, "backend": _TRANSLATES, "quantization": precisions[0]}
        settings["capabilities"] = ["chat"]
    else:
        settings = own or _weights(model_id, precisions[0], place, draft, told=not translator)
    said = "; ".join(dict.fromkeys(_title(row) for row in rows))
    settings = {**settings, "pinned": any(row.stays for row in rows) or None, "description": said}
    hint = "the engine cannot run encoder-decoder models; give translation to a chat model, or serve it elsewhere"
    draft.add_model(model_id, disabled=hint if translator else "", **settings)


def _weights(model_id: str, precision: str, place: str, draft: Draft, *, told: bool) -> dict[str, Any]:
    """Where the weights come from in that precision, and what the preset says of the model besides."""
    base = _of_preset().get(model_id, {})
    files = _files(model_id, base)
    if not files:
        return _unknown(model_id, precision, place, draft, told=told)
    exact = {
        "context": _CONTEXT,
        **base,
        "source": files.get(precision or "4-bit"),
        "quantization": precision or "4-bit",
    }
    if exact["source"] is None:
        nearest = "8-bit" if "8-bit" in files else "4-bit"
        draft.note(place, f"{precision} becomes {nearest}, because no GGUF file of it is known")
        exact |= {"source": files[nearest], "quantization": nearest}
    return exact


def _files(model_id: str, base: Mapping[str, Any]) -> dict[str, str]:
    """The known GGUF files by precision. By custom the 8-bit file is called like the 4-bit one."""
    files = {"4-bit": str(base["source"])} if base else dict(_GGUF.get(model_id, {}))
    if files and model_id not in _SPLIT:
        files.setdefault("8-bit", files["4-bit"].replace("Q4_K_M", "Q8_0").replace("q4_k_m", "q8_0"))
    return files


def _unknown(model_id: str, precision: str, place: str, draft: Draft, *, told: bool) -> dict[str, Any]:
    """A repository that nobody knows here: the choice among its files is made when they are fetched."""
    owner, _, name = model_id.partition("/")
    stem = re.sub(r"[-_.]gguf$", "", name, flags=re.IGNORECASE)
    if stem == name:
        if told:
            draft.note(place, f"hf:{model_id} may hold no GGUF file; name a repository that does, often {name}-GGUF")
    elif precision == "8-bit":
        file = f"{stem}-Q8_0.gguf"
        draft.note(place, f"the 8-bit file is taken to be {file}")
        return {"source": f"hf:{owner}/{name}/{file}", "quantization": precision}
    elif precision in ("FP16", "FP32"):
        draft.note(place, f"{precision} cannot be chosen among its files; its Q4_K_M or Q8_0 is taken")
        precision = ""
    return {"source": f"hf:{model_id}", "quantization": precision}


def _title(row: Row) -> str:
    return ", ".join(x for x in (row.title, row.memory) if x)


@functools.cache
def _of_preset() -> Mapping[str, Mapping[str, Any]]:
    """The models of Conductor's default table as the preset has them, without what a row says itself. Read once."""
    models = parse(presets.text("conductor"), name="conductor.yaml").value["models"]
    said = ("pinned", "quantization")
    return {
        model_id: {name: value for name, value in model.items() if name not in said}
        for model_id, model in models.items()
        if model.get("enabled", True)
    }
