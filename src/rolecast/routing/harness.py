"""What programs put around the words of people, and what they ask for themselves. Pure, in linear time.

Coding agents send instructions, open files and results of tools in the user's name; chat programs ask for titles and
the like beside a conversation. Judged as a person's words, all of that would look like code. Only the edges of a text
are looked at: what stands within it is what somebody wrote or pasted.
"""

import re
from collections.abc import Sequence

from rolecast import lazily

MOST = 64
"""So many pieces are taken away from a text."""
HEAD = 600
"""An instruction says within so many characters what it wants."""
HISTORY = "<chat_history>"
_ELEMENTS = (
    *("system-reminder", "environment_details", "environment_context", "environment_info", "workspace_info"),
    *("user_instructions", "permissions instructions", "recommended_plugins", "reminderInstructions", "editorContext"),
    *("local-command-caveat", "collaboration_mode", "skills_instructions", "apps_instructions"),
)
_AROUND = (*((f"<{name}>", f"</{name}>") for name in _ELEMENTS), ("# AGENTS.md instructions", "</INSTRUCTIONS>"))
"""How agents mark what nobody typed: Claude Code, Cline and its kin, Codex, Copilot."""
_FILES = ("Here are summaries of some files present in my git repo", "I have *added these files to the chat*")
"""How messages begin that are nothing but files, as Aider sends them."""
_RESULT = lazily.pattern(r"\[[a-z_]{1,40}(?: for [^\n]{0,300})?\] Result:")
"""How results of tools begin that come as text."""
_BEGUN = ("task", "feedback", "user_message", "user_query", "userRequest", "answer")
_ENDED = ("feedback", "user_message", "user_query", "userRequest", "answer")
"""Elements in which agents put what a person typed: where a text begins with one, and where it ends with one."""
_TASK, _CONTEXT = "### Task:", "</context>"

_ADJECTIVES = (
    r"(?:[\s,]+(?:an?|the|concise|short|brief|clear|simple|descriptive|relevant|broad|suitable|good|new|single|and|or|"
    r"less|words?|\d[\w-]*)){0,8}"
)
_BEGIN = r"\A\s*(?:#+ task:\s*)?(?:given the following\W{1,8})?(?:please\s+)?(?:your task is to\s+)?"
_CHAT = r"\b(?:chat|conversation|thread|session)"
_OF_CHAT = rf".{{0,160}}{_CHAT}"
_SIDE = tuple(
    lazily.pattern(f"{_BEGIN}(?:{pattern})", re.IGNORECASE | re.DOTALL)
    for pattern in (
        rf"(?:generate|create|write|provide|suggest|give|(?:reply|respond) with){_ADJECTIVES}\s+title\b{_OF_CHAT}",
        rf"(?:generate|suggest){_ADJECTIVES}\s+(?:tags|follow-?\s?up (?:questions|prompts))\b{_OF_CHAT}",
        rf"summari[sz]e this (?:\w+ )?{_CHAT} in (?:under |at most )?\d+ (?:words|characters)",
        rf"analy[sz]e the {_CHAT} history to determine",
        r"analy[sz]e if this message indicates a new conversation topic",
        r"you are an? (?:\w+ ){0,2}(?:title generator|autocompletion system)",
        r"you are an? (?:\w+ ){0,3}(?:that|who) generates (?:[\w-]+,? ){0,3}git commit messages",
        r"extract any file paths that this command",
        r"reflect the speaker.{1,3}s likely facial expression",
    )
)


def spoken(text: str) -> str:
    """What a person said in it; '' when a program said all of it."""
    text = _bare(text)
    if not text.startswith(("<", "[", "#", "H", "I")):  # whatever follows begins with one of these
        return text
    if text.startswith(_FILES):
        return ""
    for name in _BEGUN:
        if text.startswith(f"<{name}>"):
            return text[len(name) + 2 :].partition(f"</{name}>")[0].strip()
    is_result = _RESULT.match(text) is not None
    for name in _ENDED if is_result or text.startswith(("<", _TASK)) else ():
        if text.endswith(f"</{name}>") and (start := text.rfind(f"<{name}>")) >= 0:
            return text[start + len(name) + 2 : -len(name) - 3].strip()
    if is_result:
        return ""
    if text.startswith(_TASK) and HISTORY not in text and (end := text.rfind(_CONTEXT)) >= 0:
        return text[end + len(_CONTEXT) :].strip() or text  # a question behind what was looked up for it
    return text


def is_side_task(text: str, system: Sequence[str]) -> bool:
    """Whether a program asks for something of its own beside a conversation: a title, tags, what may be asked next.

    `text` is the whole last message of the user; `system` are the system prompts.
    """
    if text.lstrip().startswith(_TASK) and HISTORY in text and "<user_query>" not in text:
        return True
    return any(each.match(said[:HEAD]) for said in (text, *system) for each in _SIDE)


def is_spoken(text: str) -> bool:
    """Whether a person said some of it, if anybody said anything."""
    return not text.strip() or spoken(text) != ""


def _bare(text: str) -> str:
    """The text without what stands marked at its beginning and at its end."""
    text = text.strip()
    for _ in range(MOST):
        before = len(text)
        if text.startswith(("<", "#")):
            for start, end in _AROUND:
                if text.startswith(start) and (at := text.find(end)) >= 0:
                    text = text[at + len(end) :].lstrip()
        if text.endswith(">"):
            for start, end in _AROUND:
                if text.endswith(end) and (at := text.rfind(start)) >= 0:
                    text = text[:at].rstrip()
        if len(text) == before:
            break
    return text
