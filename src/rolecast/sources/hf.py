"""Weights in a Hugging Face repository: the file list, the choice of files, the download.

Knows the hub's tree and resolve addresses and its token. Does not know the hub's local cache (caches.py).
"""

import os
from pathlib import Path
from urllib.parse import quote

import msgspec

from rolecast.config import paths
from rolecast.errors import UNREADABLE, SourceError
from rolecast.sources import fetch, names, store
from rolecast.sources.names import Source
from rolecast.sources.store import Progress, Report
from rolecast.weights import converted, folder, is_projector_name, likest

_PAGE_BYTES = 16 << 20
_PAGES = 100
_TRUE = ("1", "true", "yes", "on")


class _Lfs(msgspec.Struct):
    oid: str
    size: int


class _Entry(msgspec.Struct):
    type: str
    path: str
    size: int = 0
    lfs: _Lfs | None = None

    @property
    def bytes(self) -> int:
        return self.lfs.size if self.lfs else self.size

    @property
    def sha256(self) -> str:
        """'' for a file that is not in large-file storage: the hub then knows no SHA-256 of it."""
        return self.lfs.oid if self.lfs else ""


def endpoint() -> str:
    """Address of the hub: HF_ENDPOINT, else the public one."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def cache_home() -> Path | None:
    """The hub's folder here: HF_HOME, else huggingface in XDG_CACHE_HOME, else in ~/.cache; None without a home."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return paths.expanded(os.environ.get("HF_HOME") or f"{base}/huggingface")


def token() -> str:
    """The user's access token ('' = none): HF_TOKEN, else the file HF_TOKEN_PATH or token in the cache."""
    found = os.environ.get("HF_TOKEN", "").strip()
    if not found:
        named, home = os.environ.get("HF_TOKEN_PATH"), cache_home()
        path = paths.expanded(named) if named else home and home / "token"
        try:
            found = path.read_text("utf-8").strip() if path and path.is_file() else ""
        except (OSError, UnicodeDecodeError):
            found = ""
    if not (found.isascii() and found.isprintable() and " " not in found):
        raise SourceError("The Hugging Face token is not one line of plain characters; set HF_TOKEN again.")
    return found


def pull(source: Source, models: Path, report: Report) -> Path:
    """Download the model's file or files into the model folder and give the first one's path.

    Raises SourceError: offline, no such repository, no permission, no or no clear GGUF in it, bad bytes.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in _TRUE:
        raise SourceError(f"{source.text} is not on this machine and HF_HUB_OFFLINE is set; unset it to pull.")
    entries = _tree(source, report)
    files = _choose(source, entries)
    home = store.home(models, source)
    wanted = {store.place(home, *file.path.split("/")): file for file in files}
    first = next(iter(wanted))
    is_of_folder = bool(names.is_of_folder(files[0].path))
    if is_of_folder:
        side = _beside(files[0].path, entries)
        wanted = {**{store.place(home, *file.path.split("/")): file for file in side}, **wanted}
    if not is_of_folder and (projector := _projector(files[0].path, entries)):
        # First, because a model that is complete is not pulled again.
        wanted = {store.place(home, *first.relative_to(home).parent.parts, _base(projector.path)): projector, **wanted}
    missing = [file.bytes - _have(target) for target, file in wanted.items()]
    store.require_space(home, sum(missing), source.text)
    digests, done, total = {}, 0, sum(file.bytes for file in wanted.values())
    for target, file in wanted.items():
        digests[target] = _fetch(source, file, target, _shifted(report, done, total), side=file not in files)
        done += file.bytes
    exact = msgspec.structs.replace(source, file=files[0].path, version=source.version or "main")
    store.record(first, exact, digests[first], tuple(wanted))
    return first


def _projector(model: str, entries: dict[str, _Entry]) -> _Entry | None:
    """What lets the model see or hear, when the repository has it, in the model's folder or at the top."""
    projectors = [n for n in entries if is_projector_name(n) and names.is_safe(n)]
    for place in dict.fromkeys((model.rpartition("/")[0], "")):
        if found := likest([n for n in projectors if n.rpartition("/")[0] == place], _base(model)):
            return entries[found]
    return None


def _beside(model: str, entries: dict[str, _Entry]) -> list[_Entry]:
    """What lies in the folder of a model and belongs to it: weights, vocabulary, tokenizer. Raises SourceError."""
    place = model.rpartition("/")[0]
    here = {_base(name): entry for name, entry in entries.items() if name.rpartition("/")[0] == place}
    if folder.is_one(model):
        if not folder.tensors(here):
            raise SourceError(f"That repository has no {folder.TENSORS} beside {model}; choose another.")
        return [here[name] for name in folder.belonging(here) if names.is_safe(name) and name != folder.CONFIG]
    if not here.keys() & set(converted.TOKENIZERS):
        raise SourceError(
            f"That repository has no {converted.TOKENIZERS[0]} beside {model}, so nobody can cut sentences for it. "
            "Choose another; or fetch it by hand, add the file from the original model, and use file:FOLDER."
        )
    return [here[name] for name in converted.BESIDE if name in here]


def _base(path: str) -> str:
    return path.rpartition("/")[2]


def _tree(source: Source, report: Report) -> dict[str, _Entry]:
    """All files of the repository at the revision, by path."""
    revision = source.version or "main"
    page = f"{endpoint()}/api/models/{source.name}/tree/{revision}?recursive=true"
    found: dict[str, _Entry] = {}
    for _ in range(_PAGES):
        try:
            body, page = fetch.get(page, token(), _PAGE_BYTES, report)
            found |= {e.path: e for e in msgspec.json.decode(body, type=list[_Entry]) if e.type == "file"}
        except fetch.RefusedError as e:
            raise _explained(source, e) from e
        except UNREADABLE as e:
            raise SourceError(f"{endpoint()} sent no file list for {source.name}; check HF_ENDPOINT.") from e
        if not page:
            return found
    raise SourceError(f"{source.name} lists too many files to read; name one: hf:{source.name}/FILE.gguf.")


def _choose(source: Source, entries: dict[str, _Entry]) -> tuple[_Entry, ...]:
    chosen = names.choose(entries, source.file)
    if not chosen:
        raise SourceError(_why_none(source, entries))
    if unsafe := [name for name in chosen if not names.is_safe(name)]:
        raise SourceError(f"{source.name} offers the file name {unsafe[0]!r}, which is not safe; not fetched.")
    files = tuple(entries[name] for name in chosen)
    if source.sha256 and (len(files) > 1 or files[0].sha256 not in ("", source.sha256)):
        offered = files[0].sha256 if len(files) == 1 else f"{len(files)} files, each with its own"
        raise SourceError(
            f"{source.text} should have sha256 {source.sha256}, but {endpoint()} offers {offered}. Correct "
            "or remove sha256, or name the revision that has it."
        )
    return files


def _why_none(source: Source, entries: dict[str, _Entry]) -> str:
    models = [s[0] for s in names.candidates(entries)]
    shown = ", ".join(models[:20])
    if part := names.incomplete(entries, source.file) if source.file or not models else "":
        return f"{source.name} lacks {part}, so that model cannot run; choose another: {shown or 'it has no other'}."
    if source.file:
        return f"{source.name} has no complete file {source.file!r}; it has: {shown or 'no GGUF at all'}."
    if models:
        return f"{source.name} has several models: name one, for example hf:{source.name}/{models[0]} ({shown})."
    if found := [name for name in entries if converted.is_one(name)]:
        return (
            f"{source.name} has a model for ctranslate2: write hf:{source.name}/{found[0]}, with backend: ctranslate2."
        )
    if any(name.endswith(".safetensors") for name in entries):
        return (
            f"{source.name} has only safetensors, which the built-in engine cannot run. Use a repository "
            f"with GGUF files (often named {source.name.partition('/')[2]}-GGUF), or backend: mlx or vllm."
        )
    return f"{source.name} has no GGUF file; choose another repository."


def _fetch(source: Source, file: _Entry, target: Path, report: Report, *, side: bool) -> str:
    """Bring one file to its place, unless a broken-off pull already did, and give its SHA-256.

    `side` = it only goes with the model, of which alone the source may state the hash.
    """
    want = file.sha256 if side else source.sha256 or file.sha256
    if target.is_file() and target.stat().st_size == file.bytes:
        digest = store.sha256_of(target, report)
        if digest == want or not want:
            return digest
    part = target.with_name(target.name + ".part")
    url = f"{endpoint()}/{source.name}/resolve/{source.version or 'main'}/{quote(file.path)}"
    try:
        digest = fetch.download(fetch.Want(url, part, file.bytes, want, token()), report)
    except fetch.RefusedError as e:
        raise _explained(source, e) from e
    store.settle(part, target, side=side)
    return digest


def _have(target: Path) -> int:
    part = target.with_name(target.name + ".part")
    return next((p.stat().st_size for p in (target, part) if p.is_file()), 0)


def _shifted(report: Report, before: int, total: int) -> Report:
    """Progress of one file as progress of all."""
    return lambda p: report(Progress(p.step, before + p.done, total))


def _explained(source: Source, refused: fetch.RefusedError) -> SourceError:
    page = f"{endpoint()}/{source.name}"
    if refused.answer in (401, 403):
        how = "accept its licence at" if token() else "set HF_TOKEN, and if it is gated accept its licence at"
        return SourceError(
            f"{source.text} may not be read ({refused.answer}): {how} {page}. The hub also answers so when "
            "the name is wrong."
        )
    if refused.answer == 404:
        return SourceError(f"{source.text} does not exist (404); check repository, revision and file at {page}.")
    return refused
