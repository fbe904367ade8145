"""Reads a command line that starts a model server: its words, what runs it, and llama-server's options.

Knows shells' quotes, wrappers such as `env` and `numactl`, and which options are settings of ours. Runs nothing.
"""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import msgspec

_WRAPPERS = {
    "chrt": 1, "env": 0, "exec": 0, "ionice": 0, "nice": 0, "nohup": 0, "numactl": 0, "prlimit": 0, "setsid": 0,
    "stdbuf": 0, "sudo": 0, "systemd-run": 0, "taskset": 1, "time": 0, "timeout": 1, "unbuffer": 0,
}  # fmt: skip
"""Programs that run another one, with the number of words that come before it."""
_VALUED = {
    "chrt": "-p",
    "env": "-u -C --unset --chdir",
    "ionice": "-c -n --class --classdata",
    "nice": "-n --adjustment",
    "numactl": "-N -m -C -p -i -P --cpunodebind --membind --physcpubind --preferred --interleave",
    "stdbuf": "-i -o -e --input --output --error",
    "sudo": "-u -g --user --group",
    "systemd-run": "-p -M -t --property --unit --slice",
    "taskset": "-p",
    "timeout": "-k -s --kill-after --signal",
}
"""Options of a wrapper whose value is the next word."""
_SHELLS = ("sh", "bash", "dash", "zsh", "ash")
_OPERATORS = re.compile(r"[;|&<>`]|\$\(")


class Command(msgspec.Struct, frozen=True):
    """A command line: the program, its options, and the words before it that had it run in some way."""

    program: str = ""
    options: tuple[str, ...] = ()
    wrapper: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    """All of it, as it would be run."""
    fault: str = ""
    """Why it cannot be read."""

    @property
    def name(self) -> str:
        """The program without its folder, in lower case and without `.exe`."""
        return _base(self.program)

    @property
    def is_llama_server(self) -> bool:
        """Whether that is llama.cpp's server, also a build or a fork of it by another name."""
        return re.search(r"llama([-_.]?cpp)?[-_.]?server", self.name) is not None

    @property
    def title(self) -> str:
        """How to call it in a sentence."""
        module = self.options[1] if self.name.startswith("python") and self.options[:1] == ("-m",) else ""
        return module or self.name or "it"


def read(text: str) -> Command:
    """The command in a `cmd`; its `fault` says why when it cannot be read."""
    try:
        words = _words(text)
        return msgspec.structs.replace(_unwrapped(words, ()), words=tuple(words))
    except ValueError as e:
        return Command(fault=f"cmd cannot be read: {str(e)[0].lower()}{str(e)[1:]}")


def _words(text: str) -> list[str]:
    """Split as a shell would, without lines that are comments. In a Windows command a backslash is a backslash."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"[\\^][ \t]*\n", " ", "\n".join(lines)).rstrip("\\ \n")
    lexer = shlex.shlex(joined, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters = True, ""
    if re.search(r"(^|[\s\"'=])[A-Za-z]:\\|\.exe\b", joined):
        lexer.escape = ""
    return list(lexer)


def _unwrapped(words: list[str], before: tuple[str, ...]) -> Command:
    """The program behind `env X=1`, `numactl --membind 0` or `sh -c '...'`."""
    taken = 0
    while taken < len(words) and re.match(r"[A-Za-z_]\w*=", words[taken]):
        taken += 1
    before, words = (*before, *words[:taken]), words[taken:]
    name = _base(words[0]) if words else ""
    if name in _SHELLS and len(words) > 2 and re.fullmatch(r"-[a-z]*c", words[1]):
        inner = words[2]
        if _OPERATORS.search(inner):
            return Command(name, tuple(words[1:]), before)
        return _unwrapped(_words(inner), (*before, *words[:2]))
    if name not in _WRAPPERS:
        return Command(words[0] if words else "", tuple(words[1:]), before)
    end = 1
    while end < len(words) and words[end].startswith("-"):
        end += 1 + (words[end] in _VALUED.get(name, "").split())
    end += _WRAPPERS[name]
    return _unwrapped(words[end:], (*before, *words[:end]))


def _base(program: str) -> str:
    name = PureWindowsPath(program).name if "\\" in program else PurePosixPath(program).name
    return name.lower().removesuffix(".exe")


def _text(value: str) -> Any:
    return value or None


def _whole(value: str) -> Any:
    return int(value) if re.fullmatch(r"-?\d{1,9}", value) else None


def _object(value: str) -> Any:
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _slots(value: str) -> Any:
    return 1 if value in ("auto", "-1") else _whole(value)


def _layers(value: str) -> Any:
    return {"auto": -1, "all": 999}.get(value, _whole(value))


def _switch(value: str) -> Any:
    words = {"on": True, "1": True, "true": True, "enabled": True, "off": False, "0": False, "false": False}
    return {**words, "disabled": False, "auto": "auto"}.get(value.lower())


_OPTIONS: dict[str, tuple[str, Callable[[str], Any]]] = {
    flag: (name, value)
    for flags, name, value in (
        ("-m --model", "model", _text),
        ("-mu --model-url", "url", _text),
        ("-hf -hfr --hf-repo", "repo", _text),
        ("-hff --hf-file", "file", _text),
        ("-c --ctx-size", "context", _whole),
        ("-np --parallel", "parallel", _slots),
        ("-ngl --gpu-layers --n-gpu-layers", "gpu_layers", _layers),
        ("-t --threads", "threads", _whole),
        ("-ctk --cache-type-k", "cache_type_k", _text),
        ("-ctv --cache-type-v", "cache_type_v", _text),
        ("-fa --flash-attn", "flash_attn", _switch),
        ("-a --alias", "alias", _text),
        ("--chat-template-kwargs", "chat_template_kwargs", _object),
        ("--port", "port", _text),
        ("--host", "host", _text),
    )
    for flag in flags.split()
}
"""Options with a value that are settings of ours: the name below, and how the value is read (None = not at all)."""
_BARE = {
    "--embedding": "embeddings",
    "--embeddings": "embeddings",
    "--reranking": "rerank",
    "--rerank": "rerank",
}
_WITHOUT = {
    "--api-key": 1,
    "--api-key-file": 1,
    "--api-prefix": 1,
    "--ssl-key-file": 1,
    "--ssl-cert-file": 1,
    "-hft": 1,
    "--hf-token": 1,
}
"""Options that would shut the gateway out, or hold a secret: with the number of their values."""


class Options(msgspec.Struct, frozen=True):
    """llama-server's options: those that are settings of ours, the rest as it stands, and what must not stay."""

    given: dict[str, Any]
    rest: list[str]
    dropped: list[str]


def options(words: tuple[str, ...]) -> Options:
    """Sort the options of a llama-server. One whose value we cannot say ourselves stays an argument."""
    given: dict[str, Any] = {}
    rest: list[str] = []
    dropped: list[str] = []
    i = 0
    while i < len(words):
        word, value = words[i], words[i + 1] if i + 1 < len(words) else ""
        name, read_value = _OPTIONS.get(word, ("", _text))
        found = read_value(value) if name else None
        if found is not None:
            given[name] = found
            i += 1
        elif word in _WITHOUT:
            dropped.append(word)
            i += _WITHOUT[word]
        elif word in _BARE:
            given[_BARE[word]] = True
        else:
            rest.append(word)
        i += 1
    return Options(given, rest, dropped)
