"""Conductor's `SETTINGS.md`: a Markdown table with a model per task category."""

import re

from rolecast.config import presets
from rolecast.config.document import parse
from rolecast.config.importers.draft import Draft, Found
from rolecast.config.importers.section import shown
from rolecast.config.labels import TWINS

TITLE = "Conductor SETTINGS.md"
REASONS: dict[str, str] = {}
_COLUMNS = {
    "category": "category",
    "technical": "id",
    "stay": "stay",
    "precision": "precision",
    "best": "title",
    "vram": "memory",
}
_SECTIONS = {
    "conversational persona": "left out; send it as the system message",
    "diffusiond": "left out; images are made by an external server",
}
_YES, _NO = ("true", "yes", "y", "1"), ("false", "no", "n", "0", "n/a", "-", "")
_ENCODER_DECODER = re.compile(r"nllb|m2m[-_]?100|opus-mt|mbart|(?<![a-z])(bart|pegasus|marian|seamless|madlad|flan-t5)")
_GGUF = {
    "meta-llama/Llama-3.1-8B-Instruct": (
        "hf:bartowski/Meta-Llama-3.1-8B-Instruct-GGUF/Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf"
    ),
    "mistralai/Mistral-7B-Instruct-v0.3": (
        "hf:bartowski/Mistral-7B-Instruct-v0.3-GGUF/Mistral-7B-Instruct-v0.3-Q4_K_M.gguf"
    ),
    "codellama/CodeLlama-7b-Instruct-hf": ("hf:TheBloke/CodeLlama-7B-Instruct-GGUF/codellama-7b-instruct.Q4_K_M.gguf"),
    "WizardLM/WizardMath-7B-V1.1": "hf:TheBloke/WizardMath-7B-V1.1-GGUF/wizardmath-7b-v1.1.Q4_K_M.gguf",
}
"""4-bit files of the models in Conductor's larger tables; the preset holds those of the default one."""


def fits(found: Found) -> bool:
    """Markdown with a table that has a column of technical model names."""
    return (
        found.value is None
        and re.search(r"^\s*\|.*Technical Model Name.*\|", found.text, re.MULTILINE | re.IGNORECASE) is not None
    )


def fill(found: Found, draft: Draft) -> None:
    """Technical names become models, categories roles (in both spellings), Stay Loaded becomes pinned."""
    rows = _rows(found.text, draft)
    for row in rows:
        category, model_id = row.get("category", ""), row.get("id", "")
        if not category or not re.fullmatch(r"[^/\s]+/[^/\s]+", model_id):
            reason = "an external server keeps its own address" if model_id else "no technical model name"
            draft.note(f"row '{shown(category)}'", f"left out: {reason}")
            continue
        if model_id not in draft.models:
            _add_model(model_id, rows, draft)
        key = re.sub(r"[ /]", "_", category.lower())
        for spelling in (key, TWINS.get(key), *(t for t, e in TWINS.items() if e == key)):
            if spelling:
                draft.roles.setdefault(spelling, []).append(model_id)
                draft.kept_roles.add(spelling)
    draft.default = "general_reasoning"
    draft.surface = "conductor"
    _name_sections(found.text, draft)


def _name_sections(text: str, draft: Draft) -> None:
    """Every section of second level and below except those of the table."""
    for title, body in re.findall(r"^#{2,6} +(.+?)[ #]*$\n?((?:(?!#{1,6} ).*\n?)*)", text, re.MULTILINE):
        known = next((why for start, why in _SECTIONS.items() if title.lower().startswith(start)), "")
        if known or (body.strip() and "technical model name" not in body.lower()):
            draft.note(shown(title), known or "left out: no counterpart")


def _add_model(model_id: str, rows: list[dict[str, str]], draft: Draft) -> None:
    place = f"models.{shown(model_id)}"
    mine = [row for row in rows if row.get("id") == model_id]
    precisions = list(dict.fromkeys(row.get("precision", "") for row in mine))
    if len(precisions) > 1:
        draft.note(place, f"has {len(precisions)} precisions; {precisions[0]} is kept")
    known = {**_GGUF, **_preset_sources()}.get(model_id)
    translator = _ENCODER_DECODER.search(model_id.lower()) is not None
    if known is None and not translator:
        draft.note(place, f"hf:{model_id} may hold no GGUF file; point source at one that does")
    elif known and precisions[0] not in ("4-bit", ""):
        draft.note(place, f"{precisions[0]} becomes 4-bit, the size of the known GGUF file")
    draft.add_model(
        model_id,
        disabled="the engine cannot run encoder-decoder models" if translator else "",
        source=known or f"hf:{model_id}",
        pinned=any(_stays(row, draft) for row in mine) or None,
        quantization="4-bit" if known else precisions[0],
        description="; ".join(dict.fromkeys(_title(row) for row in mine)),
    )


def _title(row: dict[str, str]) -> str:
    return ", ".join(x for x in (row.get("title"), row.get("memory")) if x)


def _stays(row: dict[str, str], draft: Draft) -> bool:
    said = row.get("stay", "").lower()
    if said not in (*_YES, *_NO):
        draft.note(f"row '{shown(row.get('category'))}'", f"Stay Loaded is '{shown(said)}'; taken for false")
    return said in _YES


def _preset_sources() -> dict[str, str]:
    models = parse(presets.text("conductor"), name="conductor.yaml").value["models"]
    return {model_id: model["source"] for model_id, model in models.items() if model.get("enabled", True)}


def _rows(text: str, draft: Draft) -> list[dict[str, str]]:
    """The model table, a dict per row, by what its header calls the columns; other columns are named."""
    header: list[str] = []
    rows = []
    for line in text.splitlines():
        cells = [cell.strip(" *`") for cell in line.strip().strip("|").split("|")]
        if not line.strip().startswith("|"):
            header = []
        elif "technical model name" in line.lower():
            header = [next((v for k, v in _COLUMNS.items() if cell.lower().startswith(k)), "") for cell in cells]
            for cell in (cell for cell, ours in zip(cells, header, strict=True) if cell and not ours):
                draft.note(f"column '{shown(cell)}'", "left out: no counterpart")
        elif header and not set(line) <= set("|-: \t"):
            rows.append(dict(zip(header, cells, strict=False)))
    return rows
