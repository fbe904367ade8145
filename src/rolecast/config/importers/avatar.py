"""Avatar SLM's `config.json`: how to extract conversations, train a personal model and talk to it.

None of it is about serving, so nothing becomes a model; the embedded cast is written and each section noted.
"""

from rolecast.config.importers.draft import Draft, Found

TITLE = "Avatar SLM config.json"
_SECTIONS = {
    "neo4j": "where conversations are read from; the password is not repeated here",
    "extraction": "what is read from the conversations",
    "training": "how the personal model is trained",
    "inference": "sampling; send these settings with the request",
}


def fits(found: Found) -> bool:
    """Two of the four sections, or one of the two that only this format has."""
    if not isinstance(found.value, dict) or "models" in found.value:
        return False
    present = {name for name in _SECTIONS if isinstance(found.value.get(name), dict)}
    return len(present) > 1 or bool(present & {"neo4j", "extraction"})


def fill(found: Found, draft: Draft) -> None:
    """Note each section with its values, without secrets."""
    for name, settings in found.value.items():
        about = _SECTIONS.get(name, "no counterpart")
        if not isinstance(settings, dict):
            draft.note(name, f"left out: {about}")
            continue
        shown = ", ".join(f"{key} {value}" for key, value in settings.items() if "password" not in key.lower())
        draft.note(name, f"left out: {about}" + (f" ({shown})" if shown else ""))
