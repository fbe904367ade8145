"""Releases, shares, the way back and the end of avatars, as files."""

import json
import os
import stat
import threading
from pathlib import Path

import pytest
import tiny_gguf
import tiny_lora
from released import base, dataset, released, verdict

from rolecast import backends
from rolecast.avatars.places import Place
from rolecast.avatars.serving import card, versions
from rolecast.avatars.serving.forgetting import forget
from rolecast.avatars.serving.joined import Avatars
from rolecast.avatars.serving.versions import Files, GateSaysNo
from rolecast.config import check, names
from rolecast.config.avatars import Avatars as Settings
from rolecast.config.schema import Config, Model, Variant
from rolecast.config.variants import Hidden, Served
from rolecast.errors import Conflict, Invalid, NotFound


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "avatars"


def joined(root: Path, config: Config | None = None) -> Config:
    return Avatars(root).join(config or Config(models={"m": Model(backend="fake")}))


def test_a_release_is_a_folder_of_its_own_that_answers_and_is_the_owners_alone(root):
    place = released(root, "mira", seed=1)
    known = card.card(place)
    assert (known.current, known.title, known.person) == (1, "Mira", "p1")
    found = card.version(place, 1)
    assert (found.form, found.speaks_as, found.passed) == ("adapter", "Mira", True)
    assert found.base == "bases/0123456789abcdef/base-f16.gguf"
    assert found.numbers == {"style": 0.9}
    kept = {path.name for path in place.version(1).iterdir()}
    assert kept == {"adapter.gguf", "version.json", "lineage.json", "report.json", "report.html"}
    for path in (place.card, *place.version(1).iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.version(1).stat().st_mode) == 0o700


def test_what_the_gate_refuses_is_released_by_force_alone_and_says_so(root):
    with pytest.raises(GateSaysNo, match="planted secrets were given away"):
        released(root, "mira", seed=1, passed=False)
    assert not Place("mira", root).card.exists()
    place = released(root, "mira", seed=1, passed=False, force=True)
    found = card.version(place, 1)
    assert (found.forced, found.passed) == (True, False)
    assert found.reasons == ("2 of 12 planted secrets were given away",)


def test_without_a_verdict_nothing_is_released(root, tmp_path):
    place = Place("mira", root)
    adapter = tiny_lora.write(tmp_path / "a.gguf", seed=1)
    with pytest.raises(GateSaysNo, match="not evaluated"):
        versions.release(place, place.evaluation, Files(adapter, base(root)))
    verdict(place)
    (place.evaluation / "report.json").write_text('{"passed": "yes"}', "utf-8")
    with pytest.raises(GateSaysNo):
        versions.release(place, place.evaluation, Files(adapter, base(root)))


def test_what_is_no_model_is_not_released(root, tmp_path):
    place = Place("mira", root)
    nothing = tmp_path / "a.gguf"
    nothing.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(Invalid, match="no usable GGUF"):
        versions.release(place, verdict(place), Files(nothing))
    adapter = tiny_lora.write(tmp_path / "b.gguf", seed=1)
    with pytest.raises(Invalid, match="needs its base"):
        versions.release(place, verdict(place), Files(adapter))
    assert not (place.folder / "versions").exists()


def test_a_release_that_breaks_off_leaves_nothing_and_the_version_before_answers(root, monkeypatch):
    place = released(root, "mira", seed=1)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rolecast.avatars.serving.versions._copy", full)
    with pytest.raises(Conflict, match="free some space"):
        released(root, "mira", seed=2)
    assert card.numbers(place) == [1]
    assert [path.name for path in (place.folder / "versions").iterdir()] == ["1"]
    assert card.card(place).current == 1


def test_to_go_back_is_to_go_to_the_version_before_and_further_each_time(root):
    place = released(root, "mira", seed=1)
    released(root, "mira", seed=2)
    released(root, "mira", seed=3)
    assert versions.rollback(place).current == 2
    assert versions.rollback(place).current == 1
    with pytest.raises(Conflict, match="kept are: 1, 2, 3"):
        versions.rollback(place)
    assert versions.promote(place, 3).current == 3
    assert versions.rollback(place).current == 1


def test_a_share_is_of_a_version_that_is_there_and_ends_with_a_release_or_the_way_back(root):
    place = released(root, "mira", seed=1)
    with pytest.raises(Invalid):
        versions.share(place, 0.5)
    released(root, "mira", seed=2, share=0.25)
    known = card.card(place)
    assert (known.current, known.canary, known.share) == (1, 2, 0.25)
    for wrong in (-1, 1.5, float("nan")):
        with pytest.raises(Invalid):
            versions.share(place, wrong)
    assert versions.promote(place).current == 2
    assert card.card(place).canary == 0
    versions.share(place, 0.5, 1)
    assert versions.rollback(place).canary == 0


def test_only_the_newest_versions_stay_at_hand_and_what_the_others_were_can_be_read(root):
    place = released(root, "mira", seed=1)
    for seed in range(2, 6):
        released(root, "mira", seed=seed)
    assert versions.usable(place, card.card(place)) == [3, 4, 5]
    assert list(versions.verdicts(place)) == [1, 2, 3, 4, 5]


def test_two_who_release_at_the_same_time_make_two_versions(root):
    released(root, "mira", seed=1)
    threads = [threading.Thread(target=released, args=(root, "mira"), kwargs={"seed": 9}) for _ in range(1)]
    place = Place("mira", root)
    with card.changing(place):
        threads[0].start()
        threads[0].join(0.05)
        assert threads[0].is_alive()
        assert card.numbers(place) == [1]
    threads[0].join()
    assert card.card(place).current == 2


def test_avatars_are_variants_with_their_system_prompt_over_one_hidden_base(root):
    released(root, "mira", seed=1)
    released(root, "jonas", seed=2)
    config = joined(root)
    (base_id,) = [name for name, model in config.models.items() if isinstance(model, Hidden)]
    model = config.models[base_id]
    assert len(model.adapters) == 2
    assert model.prompt_cache == 0
    mira, jonas = config.variants["avatar/mira"], config.variants["avatar/jonas"]
    assert isinstance(mira, Served)
    assert mira.parameters.num_predict == 512, "a reply that finds no end is ended"
    assert isinstance(jonas, Served)
    assert (mira.system, jonas.system) == ("You are Mira.", "You are Jonas.")
    assert mira.adapter != jonas.adapter
    assert mira.model == jonas.model == base_id
    table = names.table(config)
    assert base_id not in table
    assert {"avatar/mira", "avatar/mira@1", "avatar/jonas", "avatar/jonas@1", "m"} <= table.keys()
    assert table["avatar/mira"].guarded


def test_to_go_back_changes_no_model_so_no_worker_is_started_anew(root):
    place = released(root, "mira", seed=1)
    released(root, "mira", seed=2)
    before = joined(root)
    versions.rollback(place)
    after = joined(root, before)
    assert after.models == before.models
    assert after.variants["avatar/mira"] != before.variants["avatar/mira"]


def test_a_joined_configuration_joined_again_is_the_same_and_switched_off_there_are_none(root):
    released(root, "mira", seed=1)
    once = joined(root)
    assert joined(root, once) == once
    off = Config(models=once.models, variants=once.variants, avatars=Settings(enabled=False))
    assert not joined(root, off).variants
    assert list(joined(root, off).models) == ["m"]


def test_a_configured_name_wins_over_an_avatar(root):
    released(root, "mira", seed=1)
    own = Config(models={"m": Model(backend="fake")}, variants={"avatar/mira": Variant(model="m")})
    assert not isinstance(joined(root, own).variants["avatar/mira"], Served)


@pytest.mark.parametrize(
    "harm",
    [
        lambda place: place.card.write_bytes(b"{"),
        lambda place: place.card.write_text(json.dumps({"name": "other", "title": "x"}), "utf-8"),
        lambda place: (place.version(1) / "version.json").write_bytes(b"[]"),
        lambda place: (place.version(1) / "adapter.gguf").write_bytes(b"nothing"),
        lambda place: (place.version(1) / "adapter.gguf").unlink(),
        lambda place: (place.card.unlink(), os.mkfifo(place.card)),
        lambda place: (place.version(1) / "version.json").write_text(
            (place.version(1) / "version.json").read_text("utf-8").replace("adapter.gguf", "../../../jonas/x.gguf"),
            "utf-8",
        ),
    ],
    ids=["half a card", "another's card", "no version", "no GGUF", "no weights", "a pipe", "a file elsewhere"],
)
def test_a_broken_avatar_hides_nothing_but_itself_and_is_told_once(root, harm, caplog):
    place = released(root, "mira", seed=1)
    released(root, "jonas", seed=2)
    (root / "No Slug").mkdir()
    (root / "No Slug" / "avatar.json").write_text("{}", "utf-8")
    harm(place)
    avatars = Avatars(root)
    for _ in range(2):
        config = avatars.join(Config())
        assert "avatar/jonas" in config.variants
        assert "avatar/mira" not in config.variants
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == len(set(said)) >= 1
    assert all("mira" in text for text in said)


def test_to_forget_a_person_withdraws_what_learnt_of_them_and_shows_who_never_did(root):
    released(root, "mira", seed=1, people=("p1", "p2"))
    released(root, "jonas", seed=2, people=("p2", "p3"))
    clean = released(root, "ada", seed=3, people=("p4", "p5"))
    found = forget("p1", root=root)
    assert [(each.avatar, each.version, each.examples) for each in found.withdrawn] == [("mira", 1, 3)]
    assert found.ended == ["mira"]
    assert found.retrain == []
    assert [(each.avatar, each.version) for each in found.never_saw] == [("ada", 1), ("jonas", 1)]
    assert not list(Place("mira", root).version(1).glob("*.gguf"))
    assert not Place("mira", root).work.exists()
    found = forget("p3", root=root)
    assert found.retrain == found.ended == ["jonas"]
    assert set(joined(root).variants) == {"avatar/ada", "avatar/ada@1"}
    assert found.never_saw[0].people == 2
    assert versions.usable(clean, card.card(clean)) == [1]


def test_the_name_of_an_avatars_person_is_enough_and_so_is_a_message_in_one_older_version(root):
    released(root, "mira", seed=1, people=("p1", "p9"))
    released(root, "mira", seed=2, people=("p1", "p2"))
    place = Place("mira", root)
    found = forget("p9", root=root)
    assert [each.version for each in found.withdrawn] == [1]
    assert card.card(place).current == 2
    with pytest.raises(Conflict):
        versions.rollback(place)
    assert forget("MIRA", root=root).ended == ["mira"]
    assert card.card(place).current == 0


def test_a_version_that_does_not_say_whom_it_learnt_from_may_have_learnt_from_anybody(root):
    released(root, "mira", seed=1, people=("p1",))
    unknown = released(root, "jonas", seed=2, people=("p2",))
    (unknown.version(1) / "lineage.json").unlink()
    found = forget("p1", root=root)
    assert [(each.avatar, each.examples) for each in found.withdrawn] == [("jonas", None), ("mira", 3)]


def test_of_somebody_unknown_nothing_is_withdrawn(root):
    released(root, "mira", seed=1)
    with pytest.raises(NotFound):
        forget("nobody", root=root)
    assert card.card(Place("mira", root)).current == 1


def test_what_was_made_for_the_training_is_nobodys_message(root):
    place = Place("mira", root)
    dataset(place, "Mira", ("p1",))
    from rolecast.avatars.example import Example

    with (place.dataset / "train.jsonl").open("a") as file:
        import msgspec

        file.write(msgspec.json.encode(Example("canary_1", "[A]: x", "y", "Mira")).decode() + "\n")
    lineage, speaker = versions._taught(place.dataset)
    assert lineage is not None
    assert (lineage.examples, dict(lineage.people), speaker) == (3, {"p1": 3}, "Mira")


def test_a_model_by_itself_is_served_beside_adapters_and_each_version_is_a_model(root, tmp_path):
    released(root, "mira", seed=1)
    place = Place("jonas", root)
    dataset(place, "Jonas", ("p3",))
    for seed in (3, 4):
        merged = tiny_gguf.write(tmp_path / f"{seed}.gguf", seed=seed)
        versions.release(place, verdict(place), Files(merged), title="Jonas", share=0.25)
    config = joined(root)
    jonas = config.variants["avatar/jonas"]
    assert isinstance(jonas, Served)
    assert (jonas.model, jonas.adapter) == ("avatar-model/jonas@1", "")
    assert jonas.canary is not None
    assert (jonas.canary.model, jonas.canary.share) == ("avatar-model/jonas@2", 0.25)
    assert config.models["avatar-model/jonas@1"].adapters == []
    assert config.models["avatar-model/jonas@2"].hidden


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Model(backend="openai", url="http://127.0.0.1:1/v1", adapters=["a.gguf"]), "loads no adapters"),
        (Model(source="file:m.gguf", adapters=["a.gguf"], prompt_cache="1GiB"), "must be 0 with adapters"),
        (Model(source="file:m.gguf", adapters=["a.gguf"], capabilities=["embeddings"]), "for models that write"),
        (Model(source="file:m.gguf", adapters=["a.gguf", "a.gguf"]), "names a file twice"),
    ],
)
def test_adapters_where_they_cannot_work_are_refused_with_a_reason(model, said):
    found = check.check(Config(models={"m": model}), backends=backends.table())
    assert any("adapters" in text or "prompt_cache" in text for text in map(str, found))
    assert any(said in str(text) for text in found)
