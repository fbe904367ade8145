"""Reading a configuration: places, YAML traps, problems with their lines, environment overrides."""

from pathlib import Path

import pytest

from rolecast import config
from rolecast.backends import table
from rolecast.errors import ConfigError

MINIMAL = """\
models:
  foo:
    source: hf:owner/repo
roles:
  standard: [foo]
"""


def problems(text: str, env: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config.read(text, name="rolecast.yaml", env=env, backends=table())
    return list(caught.value.problems)


def test_a_minimal_file_gets_the_defaults() -> None:
    loaded = config.read(MINIMAL)
    assert loaded.server.host == "127.0.0.1"
    assert loaded.models["foo"].context == 4096
    assert loaded.models["foo"].capabilities == ["chat", "completion"]


def test_without_a_file_the_embedded_default_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert config.find({"XDG_CONFIG_HOME": str(tmp_path)}) is None
    loaded = config.load(env={"XDG_CONFIG_HOME": str(tmp_path)}, backends=table())
    assert list(loaded.models) == ["smollm2-135m", "all-minilm-l6-v2"]
    assert set(loaded.roles) == {"router", "standard", "reasoning", "coding", "embeddings"}


def test_the_named_file_wins_over_the_folder_and_the_folder_over_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, user = tmp_path / "work", tmp_path / "user" / "rolecast"
    work.mkdir()
    user.mkdir(parents=True)
    monkeypatch.chdir(work)
    env = {"XDG_CONFIG_HOME": str(tmp_path / "user")}
    (user / "rolecast.yaml").write_text(MINIMAL)
    assert config.find(env) == user / "rolecast.yaml"
    (work / "rolecast.yaml").write_text(MINIMAL)
    assert config.find(env) == Path("rolecast.yaml")
    assert config.find({**env, "ROLECAST_CONFIG": "/x/y.yaml"}) == Path("/x/y.yaml")


def test_a_file_that_is_not_there_is_one_plain_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        config.load(tmp_path / "nope.yaml", env={})


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rolecast.yaml"
    path.write_bytes(b"\xff\xfe\x00m")
    with pytest.raises(ConfigError, match="not UTF-8"):
        config.load(path, env={})


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "rolecast.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    assert "foo" in config.load(path, env={}).models


def test_a_file_larger_than_four_mebibytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rolecast.yaml"
    path.write_bytes(b"#" * (4 * 1024**2 + 1))
    with pytest.raises(ConfigError, match="larger than"):
        config.load(path, env={})


def test_an_unknown_setting_is_named_with_its_line_and_the_likely_one() -> None:
    text = MINIMAL.replace("    source", "    contxt: 5\n    source")
    expected = "rolecast.yaml:3: models.foo.contxt: unknown setting; did you mean 'context'?"
    assert problems(text) == [expected]


def test_every_problem_is_reported_in_the_order_of_the_file() -> None:
    text = """\
server: {port: 99999}
models:
  foo:
    source: hf:owner/repo
    timeout: soon
    parallel: -1
    tools: maybe
roles:
  standard: [foo, bar]
routing:
  strategies: [explicit, rule]
memory: {budget: 200%}
log: {level: loud}
"""
    assert problems(text) == [
        "rolecast.yaml:1: server.port: expected a whole number of at most 65535, got 99999",
        "rolecast.yaml:5: models.foo.timeout: expected a duration such as 30s, 10m or 2h, got 'soon'",
        "rolecast.yaml:6: models.foo.parallel: expected a whole number of at least 0, got -1",
        "rolecast.yaml:7: models.foo.tools: expected true or false, got text: 'maybe'",
        "rolecast.yaml:9: roles.standard.1: there is no model 'bar'; models are: foo",
        (
            "rolecast.yaml:11: routing.strategies.1: expected one of explicit, rules, learned, llm, "
            "got 'rule'; did you mean rules?"
        ),
        "rolecast.yaml:12: memory.budget: expected auto, a size such as 12GB, or a share such as 80%",
        "rolecast.yaml:13: log.level: expected one of debug, info, warning, error, got 'loud'",
    ]


def test_a_wrong_setting_does_not_cause_a_second_complaint_about_the_same_model() -> None:
    text = "models:\n  foo: {source: 5}\nroles: {standard: [foo]}\n"
    found = problems(text)
    assert found == ["rolecast.yaml:2: models.foo.source: expected text, got a whole number: 5; put it in quotes"]


def test_words_that_old_yaml_reads_as_booleans_stay_names_of_roles() -> None:
    text = MINIMAL + "  on: [foo]\n  off: [foo]\n  yes: [foo]\n  no: [foo]\n  null: [foo]\n  12: [foo]\n"
    assert list(config.read(text).roles) == ["standard", "on", "off", "yes", "no", "null", "12"]


def test_a_key_written_twice_is_refused_with_both_lines() -> None:
    text = MINIMAL + "  standard: [foo]\n"
    assert problems(text) == ["rolecast.yaml:6: roles.standard: the key is already on line 5; keep one of them"]


@pytest.mark.parametrize("value", ["!!python/object/apply:os.system [ls]", "!secret x", "!!binary aGk="])
def test_tags_are_refused(value: str) -> None:
    found = problems(MINIMAL.replace("hf:owner/repo", value))
    assert found[0].startswith("rolecast.yaml:3: models.foo.source: the tag ")


def test_a_syntax_error_is_reported_with_its_line() -> None:
    assert problems("models:\n  foo: [\n")[0].startswith("rolecast.yaml:3: not YAML: ")
    assert problems("models:\n\tfoo: 1\n") == ["rolecast.yaml:2: not YAML: a tab, where YAML wants spaces"]


def test_settings_are_told_by_the_names_that_others_have_for_them() -> None:
    wrong = "{max_tokens: 5, num_ctx: 5, temprature: 1, repeat_penalty: 0}"
    text = f"models:\n  foo: {{backend: fake, sampling: {wrong}}}\nroles: {{standard: [foo]}}\n"
    found = [each.partition(": ")[2].removeprefix("models.foo.sampling.") for each in problems(text)]
    assert found[:3] == [
        "max_tokens: unknown setting; here it is called 'num_predict'",
        "num_ctx: unknown setting; it is `context` of the model itself",
        "temprature: unknown setting; did you mean 'temperature'?",
    ]
    assert found[3].startswith("repeat_penalty: ")


def test_what_a_misspelt_section_has_is_not_missed_besides() -> None:
    (only,) = problems("modles:\n  foo: {backend: fake}\nroles: {standard: [foo]}\n")
    assert only == "rolecast.yaml:1: modles: unknown setting; did you mean 'models'?"


@pytest.mark.parametrize(
    "text",
    [
        "[" * 400 + "]" * 400,
        "a: &a [*a]",
        "a: &a [x, x]\n"
        + "".join(f"{n}: &{n} [*{p}, *{p}, *{p}, *{p}]\n" for p, n in zip("abcdefghij", "bcdefghijk", strict=True)),
    ],
    ids=["deep", "circular", "bomb"],
)
def test_documents_that_would_grow_without_end_are_refused(text: str) -> None:
    assert "write it flatter" in problems(text)[0]


def test_a_second_document_or_a_list_is_refused() -> None:
    assert "another document" in problems("--- {}\n--- {}\n")[0]
    assert problems("- a\n")[0] == "rolecast.yaml:1: expected settings (key: value), got a list such as [a, b]"


def test_an_empty_file_says_what_to_add() -> None:
    (problem,) = problems("")
    assert problem.startswith("rolecast.yaml:1: routing.default: there is no role 'standard'; roles are: none;")
    assert problem.endswith("or add `roles: {standard: [MODEL]}`")


def test_a_section_without_settings_counts_as_absent() -> None:
    assert config.read(MINIMAL + "server:\nlog:\n").server.port == 8000


def test_merge_keys_share_settings_and_the_own_ones_win() -> None:
    text = """\
models:
  foo: &base {source: hf:owner/repo, context: 1024, parallel: 2}
  bar:
    <<: *base
    context: 2048
roles: {standard: [foo, bar]}
"""
    model = config.read(text).models["bar"]
    assert (model.source, model.context, model.parallel) == ("hf:owner/repo", 2048, 2)


def test_durations_and_sizes_take_units() -> None:
    text = MINIMAL + "server: {drain_timeout: 1.5m, limits: {body: 1GiB, queue_timeout: 250ms}}\n"
    server = config.read(text).server
    assert (server.drain_timeout, server.limits.body, server.limits.queue_timeout) == (90.0, 1024**3, 0.25)


def test_variables_have_the_last_word() -> None:
    env = {
        "ROLECAST_SERVER__PORT": "9000",
        "ROLECAST_SERVER__KEYS": "[env:A, env:B]",
        "ROLECAST_SERVER__LIMITS__QUEUE_TIMEOUT": "2m",
        "ROLECAST_STAND_IN": "foo",
        "ROLECAST_LOG__ACCESS": "true",
        "ROLECAST_ROLES__CODING": "[foo]",
        "ROLECAST_MODELS__FOO__CHAT_TEMPLATE_KWARGS": "{enable_thinking: false}",
    }
    loaded = config.read(MINIMAL + "server: {port: 8500}\n", env=env)
    assert loaded.server.port == 9000
    assert loaded.server.keys == ["env:A", "env:B"]
    assert loaded.server.limits.queue_timeout == 120.0
    assert loaded.stand_in == "foo"
    assert loaded.log.access
    assert loaded.roles["coding"] == ["foo"]
    assert loaded.models["foo"].chat_template_kwargs == {"enable_thinking": False}


def test_a_variable_reaches_a_model_whose_name_no_variable_can_hold() -> None:
    text = MINIMAL.replace("foo", "qwen/qwen2.5-7b:x")
    env = {"ROLECAST_MODELS__QWEN_QWEN2_5_7B_X__CONTEXT": "512"}
    assert config.read(text, env=env).models["qwen/qwen2.5-7b:x"].context == 512


def test_text_settings_take_a_variable_as_it_stands() -> None:
    env = {
        "ROLECAST_MODELS__FOO__KEY": "*1234",
        "ROLECAST_MODELS__FOO__PARAMETERS": "7",
        "ROLECAST_STAND_IN": "",
    }
    model = config.read(MINIMAL, env=env).models["foo"]
    assert (model.key, model.parameters) == ("*1234", "7")


def test_variables_that_are_no_settings_are_left_alone() -> None:
    env = {
        "ROLECAST_HOME": "/x",
        "ROLECAST_CONFIG": "/y",
        "ROLECAST_API_KEY": "k",
        "ROLECAST_URL": "http://x",
        "ROLECAST_PORT": "tcp://10.0.0.1:80",
        "ROLECAST_SERVICE_HOST": "10.0.0.1",
        "ROLECAST_SERVER__PORT": "",
    }
    assert config.read(MINIMAL, env=env) == config.read(MINIMAL)


@pytest.mark.parametrize("text", [MINIMAL, MINIMAL.replace("roles:", "    aliases: [smollm2]\nroles:")])
@pytest.mark.parametrize("helper", ["smollm2-135m", "all-minilm-l6-v2"])
def test_a_model_of_the_embedded_default_can_stand_in_for_any_configuration(text: str, helper: str) -> None:
    embedded = config.load(env={"XDG_CONFIG_HOME": "/nowhere"}).models[helper]
    for loaded in (config.read(text, env={"ROLECAST_STAND_IN": helper}), config.read(f"stand_in: {helper}\n{text}")):
        assert list(loaded.models) == ["foo", helper]
        assert loaded.stand_in == helper
        added = loaded.models[helper]
        assert (added.source, added.capabilities, added.aliases) == (embedded.source, embedded.capabilities, [])


def test_fake_stands_in_without_any_weights_unless_a_model_is_called_so() -> None:
    loaded = config.read(MINIMAL, env={"ROLECAST_STAND_IN": "fake"})
    assert (loaded.models["fake"].backend, loaded.models["fake"].source) == ("fake", "")
    own = config.read("models: {fake: {source: 'file:/f.gguf'}}\nroles: {standard: [fake]}\nstand_in: fake\n")
    assert own.models["fake"].source == "file:/f.gguf"


def test_a_stand_in_of_that_name_in_the_file_stays_as_it_is_and_an_unknown_one_is_named() -> None:
    own = MINIMAL + "stand_in: smollm2-135m\n"
    own = own.replace("models:\n", "models:\n  smollm2-135m: {source: 'file:/own.gguf'}\n")
    assert config.read(own).models["smollm2-135m"].source == "file:/own.gguf"
    (problem,) = problems(MINIMAL, {"ROLECAST_STAND_IN": "nobody"})
    assert "there is no model 'nobody'" in problem
    assert "smollm2-135m" not in [*config.read(MINIMAL).models]


def test_equals_are_read_and_a_fault_in_them_has_its_line() -> None:
    text = "models:\n  a: {backend: fake}\n  b: {backend: fake}\nroles:\n  standard: [[a, b]]\n"
    assert config.read(text).roles == {"standard": [["a", "b"]]}
    (problem,) = problems(text.replace("[[a, b]]", "\n    - [a, 5]"))
    assert problem == "rolecast.yaml:6: roles.standard.0.1: expected text, got a whole number: 5; put it in quotes"
    (problem,) = problems(text.replace("[[a, b]]", "[[a, [b]]]"))
    assert problem.startswith("rolecast.yaml:5: roles.standard.0.1: expected text, got a list")


def test_a_wrong_variable_is_named() -> None:
    env = {
        "ROLECAST_SERVER__PROT": "1",
        "ROLECAST_SERVER__PORT": "many",
        "ROLECAST_SERVER__PORT__X": "1",
        "ROLECAST_MODELS__BAR__CONTEXT": "1",
        "ROLECAST_LOG__LEVEL": "[",
        "ROLECAST_SURVER__PORT": "1",
    }
    found = problems(MINIMAL, env)
    assert "ROLECAST_SERVER__PORT: server.port: expected a whole number, got text: 'many'" in found
    assert "ROLECAST_SERVER__PROT: server.prot: unknown setting; did you mean 'port'?" in found
    assert "ROLECAST_SERVER__PORT__X: server.port: is a single setting; drop '__X'" in found
    assert "ROLECAST_MODELS__BAR__CONTEXT: models: no entry 'bar'; there are: foo" in found
    assert "ROLECAST_SURVER__PORT: surver: unknown setting; did you mean 'server'?" in found
    assert any(line.startswith("ROLECAST_LOG__LEVEL:1: not YAML") for line in found)


def test_two_models_that_a_variable_cannot_tell_apart_are_named() -> None:
    text = "models: {a-b: {source: hf:o/r}, a.b: {source: hf:o/r}}\nroles: {standard: [a-b]}\n"
    found = problems(text, {"ROLECAST_MODELS__A_B__CONTEXT": "1"})
    assert found == ["ROLECAST_MODELS__A_B__CONTEXT: models: 'a_b' fits a-b and a.b; set it in the file instead"]


def test_no_problem_repeats_a_secret() -> None:
    secret = "repo\n    key: [hush]\n    args: --api-key hush\n"
    text = MINIMAL.replace("repo\n", secret) + "server: {keys: hush-hush}\n"
    found = problems(text, {"ROLECAST_SERVER__KEYS": "hush"}) + problems(text)
    assert len(found) == 6
    assert not any("hush" in line for line in found)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("context: ten", "expected a whole number, got text: 'ten'"),
        ("context: 1.5", "expected a whole number, got a number: 1.5"),
        ("threads: true", "expected a whole number, got true or false: True"),
        ("context: " + "9" * 300 + "x", "expected a whole number, got text: '" + "9" * 59 + "..."),
        ("context: [1]", "expected a whole number, got a list such as [a, b]"),
        ("timeout: " + "x" * 5000, "expected a duration such as 30s, 10m or 2h, got 'x"),
        ("sleep: " + "9" * 400, "expected a duration of zero or more, got 9"),
        ("sleep: " + "9" * 306 + "d", "expected a duration of zero or more, got '9"),
        ("idle_timeout: .nan", "expected a duration of zero or more, got nan"),
        ("load_timeout: -.inf", "expected a duration of zero or more, got -inf"),
        ("memory: " + "9" * 400, "a size such as"),
        ("prompt_cache: 99999999999GB", "a size such as"),
        ("replicas: 0", "expected a whole number of at least 1, got 0"),
        ("replicas: " + "9" * 30, "expected a whole number of at most 64, got 9"),
    ],
)
def test_a_wrong_value_is_shown_unless_it_is_long(setting: str, words: str) -> None:
    (found,) = problems("models:\n  foo: {source: 'hf:o/r', " + setting + "}\nroles: {standard: [foo]}\n")
    assert words in found
    assert len(found) < 300


def test_the_error_names_the_file_and_lists_the_problems() -> None:
    with pytest.raises(ConfigError) as caught:
        config.read("nope: 1\n" + MINIMAL, name="my.yaml")
    assert str(caught.value).startswith("my.yaml has 1 problem:\n  my.yaml:1: nope: unknown setting")
