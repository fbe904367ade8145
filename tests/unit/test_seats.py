"""Which slot a conversation gets, decided without an engine."""

from hypothesis import given
from hypothesis import strategies as st

from rolecast.fleet.seats import Seats
from rolecast.turn.seating import marks, share_of
from rolecast.values import Caller, Chat, Message


def told(*texts: str, system: str = "You are Mira.") -> tuple[int, ...]:
    said = [Message("system", system)] if system else []
    said += [Message("user" if i % 2 == 0 else "assistant", text) for i, text in enumerate(texts)]
    return tuple(marks(Chat("m", tuple(said)), "key", "adapter"))


def test_a_turn_comes_to_the_slot_of_its_conversation_whoever_came_between():
    seats = Seats(4)
    first, second = seats.take(told("hi")), seats.take(told("hello"))
    assert first is not None
    assert second is not None
    assert first != second
    seats.leave(second)
    seats.leave(first)
    assert seats.take(told("hello", "you", "yes")) == second
    assert seats.take(told("hi", "me", "no")) == first


def test_conversations_of_one_avatar_do_not_share_a_slot_because_they_begin_with_its_name():
    seats = Seats(2)
    one = seats.take(told("one"))
    seats.leave(one)
    assert seats.take(told("two")) != one


def test_a_turn_that_is_asked_again_in_other_words_stays():
    seats = Seats(3)
    slot = seats.take(told("hi", "me", "no"))
    seats.leave(slot)
    assert seats.take(told("hi", "me", "yes")) == slot


def test_without_a_slot_of_its_own_it_gets_one_that_was_never_used_and_then_the_one_idle_longest():
    seats = Seats(2)
    first = seats.take(told("a"))
    seats.leave(first)
    second = seats.take(told("b"))
    assert second != first
    seats.leave(second)
    assert seats.take(told("c")) == first
    seats.leave(first)
    assert seats.take(told("d")) == second


def test_another_avatar_never_goes_on_in_a_slot_as_if_it_were_the_same_conversation():
    chat = Chat("m", (Message("user", "hi"),))
    assert set(marks(chat, "key", "a")).isdisjoint(marks(chat, "key", "b"))
    assert set(marks(chat, "key", "a")).isdisjoint(marks(chat, "other", "a"))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4), st.booleans()), max_size=60), st.integers(1, 4))
def test_a_busy_slot_is_never_given_and_one_is_given_as_long_as_any_is_idle(steps, count):
    seats, busy = Seats(count), set()
    for who, length, ends in steps:
        if ends and busy:
            seats.leave(busy.pop())
            continue
        slot = seats.take([who * 100 + i for i in range(length)])
        assert (slot is None) == (len(busy) == count)
        if slot is not None:
            assert slot not in busy
            busy.add(slot)


@given(st.text(min_size=1), st.lists(st.text(), max_size=4))
def test_a_conversation_is_on_one_side_of_a_share_for_all_its_turns(first, rest):
    caller = Caller("front", key="k")
    chats = [
        Chat("m", tuple(Message("user" if i % 2 == 0 else "assistant", t) for i, t in enumerate([first, *rest[:n]])))
        for n in range(len(rest) + 1)
    ]
    found = {share_of(chat, caller, "avatar/mira@2") for chat in chats}
    assert len(found) == 1
    assert 0 <= found.pop() < 1


def test_a_share_is_of_all_conversations():
    caller = Caller("front")
    got = sum(share_of(Chat("m", (Message("user", f"hi {i}"),)), caller, "a@2") < 0.1 for i in range(4000))
    assert 300 < got < 500
