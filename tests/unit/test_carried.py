"""Which conversations are kept, and which one a request goes on with: decided without a file or an engine."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecast.fleet.carried import AUTO, BLOCK, KEPT_S, LEAST, Carried, Saved, allowed, common, marks

NEW = iter(range(10**9))
tokens = st.lists(st.integers(0, 3), max_size=6).map(lambda kinds: [kind for kind in kinds for _ in range(BLOCK)])


def saved(said: list[int], identity: str = "it", size: int = 10, used: float = 0.0, file: str = "") -> Saved:
    return Saved(file or f"f{next(NEW)}", identity, tuple(marks(said)), len(said), size, 0, used)


def blocks(*kinds: int) -> list[int]:
    """A conversation of so many blocks, each full of one token."""
    return [kind for kind in kinds for _ in range(BLOCK)]


FOUR = LEAST // BLOCK
LONG = tuple(range(1, FOUR + 3))


@given(tokens, tokens)
def test_two_conversations_share_as_many_marks_as_blocks_they_begin_with(one, other):
    shared = 0
    while shared < min(len(one), len(other)) and one[shared] == other[shared]:
        shared += 1
    assert common(marks(one), marks(other)) == shared // BLOCK


@given(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=200), st.integers(0, BLOCK - 1))
def test_what_is_no_whole_block_changes_no_mark(said, more):
    whole = said[: len(said) // BLOCK * BLOCK]
    assert marks(said) == marks(whole) == marks([*whole, *range(more)])


def test_the_conversation_that_spares_the_most_is_gone_on_with():
    short, long = saved(blocks(*LONG[:FOUR])), saved(blocks(*LONG))
    carried = Carried([short, long])
    assert carried.best("it", marks(blocks(*LONG, 9)), set()) == long
    assert carried.best("it", marks(blocks(*LONG[:FOUR], 9)), set()) in (short, long)
    assert carried.best("it", marks(blocks(9, *LONG)), set()) is None


def test_another_engine_or_model_gets_nothing():
    assert Carried([saved(blocks(*LONG), "other")]).best("it", marks(blocks(*LONG)), set()) is None


def test_what_spares_too_little_is_left_where_it_is():
    carried = Carried([saved(blocks(*LONG))])
    assert carried.best("it", marks(blocks(*LONG[: FOUR - 1], 9, 9)), set()) is None
    assert carried.best("it", marks(blocks(*LONG[:FOUR], 9, 9)), set()) is not None
    assert carried.best("it", marks(blocks(*LONG[:FOUR], 9, 9)), set(), least=FOUR + 1) is None


def test_what_the_engine_has_read_already_is_not_brought_back_for():
    carried = Carried([saved(blocks(*LONG))])
    wanted = marks(blocks(*LONG))
    assert carried.best("it", wanted, set(wanted)) is None
    assert carried.best("it", wanted, set(wanted[:2])) is not None  # four more are spared
    assert carried.best("it", wanted, set(wanted[:3])) is None


def test_a_later_turn_takes_the_place_of_an_earlier_one_and_never_the_other_way_round():
    earlier, later, other = saved(blocks(*LONG[:FOUR])), saved(blocks(*LONG)), saved(blocks(7, 7, 7, 7))
    carried = Carried([earlier, other])
    assert carried.put(later) == [earlier]
    assert carried.put(earlier) == [earlier]
    assert set(carried) == {later, other}


def test_the_same_conversation_saved_again_takes_its_own_place():
    first, again = saved(blocks(*LONG)), saved(blocks(*LONG))
    carried = Carried([first])
    assert carried.put(again) == [first]
    assert list(carried) == [again]


entries = st.lists(
    st.tuples(tokens, st.integers(0, 100), st.floats(0, 1000), st.sampled_from(["it", "other"])), max_size=12
)


@given(entries, st.integers(0, 500))
def test_what_is_kept_is_never_more_than_allowed_and_the_oldest_go_first(found, size):
    carried = Carried(saved(said, identity, take, used) for said, take, used, identity in found)
    before = list(carried)
    gone = carried.trim(size, 1000.0)
    assert carried.size <= size
    assert sorted(each.file for each in [*carried, *gone]) == sorted(each.file for each in before)
    assert max((each.used for each in gone), default=0) <= min((each.used for each in carried), default=1000)
    if gone:  # and none goes without need
        assert carried.size + gone[-1].size > size


def test_what_nobody_came_back_to_for_a_week_goes_though_there_is_room():
    old, young = saved(blocks(*LONG), used=0.0), saved(blocks(7, 7, 7, 7), used=5.0)
    carried = Carried([old, young])
    assert carried.trim(10**9, KEPT_S + 1) == [old]
    assert list(carried) == [young]


def test_who_came_back_is_young_again():
    one, other = saved(blocks(*LONG), used=1.0), saved(blocks(7, 7, 7, 7), used=2.0)
    carried = Carried([one, other])
    carried.touch(one.file, 3.0)
    assert carried.trim(10, 4.0) == [other]


@given(entries)
def test_after_any_number_of_saves_no_conversation_is_there_twice(found):
    carried = Carried()
    for said, take, used, identity in found:
        carried.put(saved(said, identity, take, used))
    kept = [(each.identity, each.marks) for each in carried]
    assert len(kept) == len(set(kept))
    for identity, one in kept:
        assert not any(identity == name and other != one and other[: len(one)] == one for name, other in kept)


@pytest.mark.parametrize(
    ("setting", "free", "held", "size"),
    [
        ("auto", 10**12, 0, AUTO),
        ("auto", 10**9, 10**9, 10**8),
        ("8GiB", 10**12, 0, 8 << 30),
        ("8GiB", 10**9, 10**9, 10**9),
        (0, 10**12, 0, 0),
    ],
)
def test_how_much_is_kept(setting, free, held, size):
    assert allowed(setting, free, held) == size
