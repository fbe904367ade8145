"""Conductor's `SETTINGS.md`: a Markdown table with a model per task category."""

import re

from rolecast.config import presets
from rolecast.config.document import parse
from rolecast.config.importers.draft import Draft, Found

TITLE = "Conductor SETTINGS.md"
_COLUMNS = {
    "category": "category",
    "technical": "id",
    "stay": "stay",
    "precision": "precision",
    "best": "title",
}
_SPELLINGS = {
    "code_review_debugging": "code_review",
    "legal_document_analysis": "legal_analysis",
    "long_context_tasks": "long_context",
}
"""The table's category keys and the engines' keys for the same category."""
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
    rows = _rows(found.text)
    for row in rows:
        category, model_id = row.get("category", ""), row.get("id", "")
        key = re.sub(r"[ /]", "_", category.lower())
        if not category or "/" not in model_id:
            reason = "an external server keeps its own address" if model_id else "no technical model name"
            draft.note(f"row '{category}'", f"left out: {reason}")
            continue
        if model_id not in draft.models:
            _add_model(model_id, rows, draft)
        for spelling in (key, _SPELLINGS.get(key), *(t for t, e in _SPELLINGS.items() if e == key)):
            if spelling:
                draft.roles.setdefault(spelling, []).append(model_id)
    draft.default = "general_reasoning"
    if re.search(r"^#+\s*Conversational Persona", found.text, re.MULTILINE | re.IGNORECASE):
        draft.note("Conversational Persona", "left out; send it as the system message")
    if re.search(r"^#+\s*Diffusiond", found.text, re.MULTILINE | re.IGNORECASE):
        draft.note("Diffusiond Settings", "left out; images are made by an external server")


def _add_model(model_id: str, rows: list[dict[str, str]], draft: Draft) -> None:
    mine = [row for row in rows if row.get("id") == model_id]
    precisions = list(dict.fromkeys(row.get("precision", "") for row in mine))
    if len(precisions) > 1:
        draft.note(f"models.{model_id}", f"has {len(precisions)} precisions; {precisions[0]} is kept")
    known = {**_GGUF, **_preset_sources()}.get(model_id)
    translator = "nllb" in model_id.lower()
    if translator:
        draft.note(f"models.{model_id}", "disabled: the engine cannot run encoder-decoder models")
    elif known is None:
        draft.note(f"models.{model_id}", f"hf:{model_id} may hold no GGUF file; point source at one that does")
    elif precisions[0] not in ("4-bit", ""):
        draft.note(f"models.{model_id}", f"{precisions[0]} becomes 4-bit, the size of the known GGUF file")
    draft.add_model(
        model_id,
        source=known or f"hf:{model_id}",
        pinned=any(row.get("stay", "").lower() == "true" for row in mine) or None,
        enabled=False if translator else None,
        quantization="4-bit" if known else precisions[0],
        description=mine[0].get("title"),
    )


def _preset_sources() -> dict[str, str]:
    models = parse(presets.text("conductor"), name="conductor.yaml").value["models"]
    return {model_id: model["source"] for model_id, model in models.items() if model.get("enabled", True)}


def _rows(text: str) -> list[dict[str, str]]:
    """The model table, a dict per row, by what its header calls the columns."""
    header: list[str] = []
    rows = []
    for line in text.splitlines():
        cells = [cell.strip(" *`") for cell in line.strip().strip("|").split("|")]
        if not line.strip().startswith("|"):
            header = []
        elif "technical model name" in line.lower():
            header = [next((v for k, v in _COLUMNS.items() if cell.lower().startswith(k)), "") for cell in cells]
        elif header and not set(line) <= set("|-: \t"):
            rows.append(dict(zip(header, cells, strict=False)))
    return rows
