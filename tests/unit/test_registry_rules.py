"""The rules of the registry on virtual time: live services are found, dead ones go, nobody is there twice."""

import heapq
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from rolecast.registry.service import Beat, Moment, News, Service
from rolecast.registry.services import STALL_S, Services

PACE_S = 30.0
WALL = 1_700_000_000.0


def at(seconds: float, wall: float | None = None) -> Moment:
    """So long after the start of the test."""
    return Moment(1000.0 + seconds, WALL + seconds if wall is None else wall)


def service(service_id: str = "a", **fields: Any) -> Service:
    return Service(**{"id": service_id, "name": service_id, "kind": "tool", "caps": ("x",), **fields})


def registered(*services: Service, pace_s: float = 1e9) -> Services:
    """They came at the start. So large a pace means: nobody expects to be asked often."""
    found = Services(pace_s)
    for each in services:
        assert [news.kind for news in found.register(each, at(0))] == ["registered"]
    return found


def kinds(news: list[News] | None) -> list[str]:
    return [each.kind for each in news or []]


# -- missed heartbeats -------------------------------------------------------------------------------------------


def test_one_missed_beat_warns_once_two_mean_down_and_after_its_time_to_live_it_is_gone() -> None:
    services = registered(service(interval_s=60, ttl_s=300))
    assert kinds(services.advance(at(59.9))) == []
    (warned,) = services.advance(at(60))
    assert warned.kind == "miss"
    assert warned.alert is not None
    assert (warned.alert.alert_type, warned.alert.action, warned.alert.missed_beats) == ("heartbeat_miss", "warning", 1)
    assert (warned.alert.last_seen, warned.alert.ts) == (WALL, WALL + 60)
    assert kinds(services.advance(at(90))) == kinds(services.advance(at(119.9))) == [], "a warning is not repeated"
    assert services.find("a") is not None
    assert [s.status for s in services] == ["ok"]
    (down,) = services.advance(at(120))
    assert down.alert is not None
    assert (down.kind, down.alert.action, down.alert.missed_beats) == ("down", "marked_down", 2)
    assert [s.status for s in services] == ["down"]
    assert kinds(services.advance(at(240))) == kinds(services.advance(at(299.9))) == [], "its ttl is not over"
    (gone,) = services.advance(at(300))
    assert gone.alert is not None
    assert (gone.kind, gone.alert.action, gone.alert.missed_beats) == ("removed", "deregistered", 5)
    assert (len(services), services.find("a"), services.next_due) == (0, None, None)


def test_a_time_to_live_that_is_shorter_than_three_intervals_waits_for_them() -> None:
    services = registered(service(interval_s=60, ttl_s=90))
    assert kinds(services.advance(at(179.9))) == ["miss", "down"]
    assert kinds(services.advance(at(180))) == ["removed"]


def test_who_was_not_looked_at_for_long_gets_all_that_is_due_in_order() -> None:
    services = registered(service(interval_s=60, ttl_s=90))
    assert kinds(services.advance(at(10_000))) == ["miss", "down", "removed"]


@pytest.mark.parametrize("missed_s", [60, 120, 299])
def test_a_heartbeat_restores_and_says_so_once(missed_s: float) -> None:
    services = registered(service(interval_s=60, ttl_s=300, labels={"parent": "boss"}))
    services.advance(at(missed_s))
    (restored,) = services.beat("a", Beat(p95_ms=5), at(missed_s)) or []
    assert restored.kind == "restored"
    assert restored.alert is not None
    assert restored.alert.alert_type == "heartbeat_restored"
    assert restored.alert.action in ("warning", "marked_down", "deregistered", "escalated"), "PAS's words, no other"
    assert (restored.alert.missed_beats, restored.alert.parent) == (missed_s // 60, "boss")
    assert kinds(services.beat("a", Beat(), at(missed_s + 1))) == ["beat"]
    (now,) = services
    assert (now.status, now.missed, now.p95_ms) == ("ok", 0, 5)
    assert kinds(services.advance(at(missed_s + 60))) == []
    assert kinds(services.advance(at(missed_s + 61))) == ["miss"], "from its last heartbeat on"


def test_a_registration_is_a_heartbeat_and_keeps_the_day_it_came() -> None:
    services = registered(service(interval_s=60, ttl_s=300))
    services.advance(at(130))
    assert kinds(services.register(service(url="http://new"), at(140))) == ["restored", "updated"]
    (now,) = services
    assert (now.registered_at, now.beat_at, now.url, now.status) == (WALL, WALL + 140, "http://new", "ok")


def test_what_a_service_says_of_itself_is_told_when_it_changes() -> None:
    services = registered(service())
    assert kinds(services.beat("a", Beat("degraded", load=0.5, queue_depth=3, message="hot"), at(1))) == ["updated"]
    assert kinds(services.beat("a", Beat("degraded"), at(2))) == ["beat"]
    (now,) = services
    assert (now.load, now.queue_depth, now.message) == (0.5, 3, "hot"), "what is not said again is as before"
    assert kinds(services.beat("a", Beat("down"), at(3))) == ["updated"]
    assert services.beat("nobody", Beat(), at(4)) is None


def test_a_clock_that_is_set_changes_nothing() -> None:
    services = registered(service(interval_s=60, ttl_s=90))
    assert kinds(services.advance(at(30, wall=WALL + 10 * 365 * 86_400))) == []
    assert kinds(services.beat("a", Beat(), at(31, wall=0.0))) == ["beat"]
    assert kinds(services.advance(at(90, wall=-5.0))) == []
    assert kinds(services.advance(at(91, wall=-5.0))) == ["miss"]


def test_what_nobody_could_hear_was_not_missed() -> None:
    """The machine slept, or the gateway was stopped and went on."""
    services = registered(service(interval_s=60, ttl_s=90), pace_s=PACE_S)
    services.advance(at(30))
    assert kinds(services.advance(at(30 + 3600))) == []
    assert kinds(services.beat("a", Beat(), at(30 + 3601))) == ["beat"]
    services.advance(at(30 + 3601))
    assert kinds(services.advance(at(3631 + PACE_S + STALL_S))) == [], "late, but not so late that we were away"
    assert kinds(services.advance(at(3631 + 59))) == []
    assert kinds(services.advance(at(3631 + 60))) == ["miss"]


def test_after_a_restart_the_clock_of_missed_beats_begins_anew() -> None:
    services = Services(PACE_S)
    services.restore([service(interval_s=60, ttl_s=90, missed=1, registered_at=5.0, beat_at=6.0)], at(100_000))
    assert kinds(services.advance(at(100_020))) == []
    (now,) = services
    assert (now.registered_at, now.beat_at) == (5.0, 6.0)
    assert kinds(services.advance(at(100_059))) == []
    assert kinds(services.advance(at(100_080))) == [], "it was warned of already"
    assert kinds(services.advance(at(100_119))) == []
    assert kinds(services.advance(at(100_120))) == ["down"]


# -- finding -----------------------------------------------------------------------------------------------------


def test_agents_are_found_by_both_ids_and_all_filters_hold_together() -> None:
    services = registered(
        service("agent-llama", kind="agent", caps=("reasoning", "planning"), labels={"agent_role": "execution"}),
        service("tool", name="zz", caps=("reasoning",), role="canary"),
    )
    assert services.find("llama") is services.find("agent-llama") is not None
    assert services.find("llam") is None
    found = lambda *caps, **fields: [s.id for s in services.matching(caps, **fields)]  # noqa: E731
    assert found("reasoning") == found() == ["agent-llama", "tool"]
    assert found("reasoning", "planning") == found(kind="agent") == found(role="execution") == ["agent-llama"]
    assert found(role="canary") == found(name="zz", status="ok") == ["tool"]
    assert found("reason") == found("REASONING") == found(name="zz", kind="agent") == [], "matches are exact"


def test_they_are_in_order_of_name_and_role_whatever_happens() -> None:
    services = registered(*(service(i, name=name, role=role) for i, name, role in [
        ("1", "b", "production"), ("2", "a", "staging"), ("3", "a", "canary"), ("4", "b", "canary")
    ]))  # fmt: skip
    order = lambda: [s.id for s in services]  # noqa: E731
    assert order() == ["3", "2", "4", "1"]
    services.beat("4", Beat(), at(1))
    assert order() == ["3", "2", "4", "1"]
    assert kinds(services.promote("a", "canary", "production")) == ["updated"]
    assert order() == ["3", "2", "4", "1"]
    assert kinds(services.promote("a", "canary", "production")) == []
    services.register(service("4", name="A"), at(2))
    assert order() == ["4", "3", "2", "1"]
    services.remove("3")
    assert order() == ["4", "2", "1"]


def test_a_thousand_services_are_searched_in_less_than_a_millisecond_of_work() -> None:
    services = registered(*(service(f"s{i}", caps=(f"cap{i % 50}", "all")) for i in range(1000)))
    spent = []
    for i in range(50):
        services.beat(f"s{i}", Beat(load=0.1), at(1 + i))
        began = time.thread_time()
        assert len(services.matching([f"cap{i % 50}"], kind="tool")) == 20
        spent.append(time.thread_time() - began)
    assert min(spent) < 0.001


def test_who_comes_and_goes_all_day_leaves_nothing_behind() -> None:
    services = registered()
    for i in range(5000):
        services.register(service("a", interval_s=86_400 - i), at(i))
        if i % 3 == 0:
            services.remove("a")
    assert len(services._due) < 200


# -- any order of events -----------------------------------------------------------------------------------------


class Plain:
    """The same rules, read off the sentence they are written in, with all looked at each time."""

    def __init__(self) -> None:
        self.heard: dict[str, float] = {}
        self.missed: dict[str, int] = {}

    def advance(self, now: float, of: dict[str, Service]) -> Iterator[tuple[str, str]]:
        for service_id in list(self.heard):
            elapsed = now - self.heard[service_id]
            missed, before = int(elapsed // of[service_id].interval_s), self.missed[service_id]
            self.missed[service_id] = max(missed, before)
            if before < 1 <= missed:
                yield service_id, "miss"
            if before < 2 <= missed:
                yield service_id, "down"
            if missed >= 3 and elapsed >= of[service_id].ttl_s:
                del self.heard[service_id], self.missed[service_id]
                yield service_id, "removed"


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.integers(0, 200)),
        st.tuples(st.sampled_from(["register", "beat", "remove"]), st.integers(0, 3)),
    ),
    max_size=60,
)
SPANS = [(10, 30), (7, 100), (60, 90), (25, 25)]


@given(STEPS)
def test_the_rules_hold_in_any_order_of_events(steps: list[tuple[str, int]]) -> None:
    of = {str(i): service(str(i), interval_s=float(a), ttl_s=float(b)) for i, (a, b) in enumerate(SPANS)}
    services, plain, now = Services(1e9), Plain(), 0
    for what, number in steps:
        service_id = str(number)
        if what == "wait":
            now += number
            found = sorted((news.service.id, news.kind) for news in services.advance(at(now)))
            assert found == sorted(plain.advance(now, of))
        elif what == "register":
            services.register(of[service_id], at(now))
            plain.heard[service_id], plain.missed[service_id] = now, 0
        elif what == "beat":
            assert (services.beat(service_id, Beat(), at(now)) is None) is (service_id not in plain.heard)
            if service_id in plain.heard:
                plain.heard[service_id], plain.missed[service_id] = now, 0
        else:
            assert (services.remove(service_id) is None) is (service_id not in plain.heard)
            plain.heard.pop(service_id, None)
            plain.missed.pop(service_id, None)
        assert [s.id for s in services] == sorted(plain.heard)
        assert {s.id for s in services if s.status == "down"} == {i for i, missed in plain.missed.items() if missed > 1}


# -- a day -------------------------------------------------------------------------------------------------------

DAY_S = 86_400.0
INTERVAL_S, TTL_S = 60.0, 150.0
GONE_S = 180.0
"""The third interval ends after the time to live."""


class Play:
    """200 services that come, send heartbeats, are killed, say good-bye and come again by the same id."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.services = Services(PACE_S)
        self.queue: list[tuple[float, int, str]] = []
        self.alive: dict[int, float] = {}
        """Since when."""
        self.died: dict[int, float] = {}
        self.away = (-1.0, -1.0)
        """While the gateway does not run, nobody is heard."""
        self.counts = {"restarts": 0, "removed": 0, "gateways": 0}

    def of(self, number: int) -> Service:
        return service(f"agent-{number}", name=f"worker {number % 20}", interval_s=INTERVAL_S, ttl_s=TTL_S)

    def plan(self, after_s: float, number: int, what: str) -> None:
        heapq.heappush(self.queue, (after_s, number, what))

    def run(self) -> None:
        for number in range(200):
            self.plan(self.random.uniform(0, 600), number, "start")
        for turn in range(int(DAY_S / PACE_S)):
            self.plan(turn * PACE_S, -1, "tick")
        for hour in (5, 11, 17):
            self.plan(hour * 3600.0, -1, "restart")
        while self.queue:
            now, number, what = heapq.heappop(self.queue)
            if now > DAY_S:
                break
            getattr(self, what)(now, number)

    def start(self, now: float, number: int) -> None:
        self.counts["restarts"] += number in self.died
        self.alive[number] = now
        self.died.pop(number, None)
        self.plan(now + self.random.expovariate(1 / 7200), number, self.random.choice(["kill", "leave"]))
        if self.is_away(now):
            self.alive[number] = self.away[1]  # it tries until somebody listens
            self.plan(self.away[1], number, "register")
        else:
            self.register(now, number)
        self.plan(max(now, self.away[1]) + self.random.uniform(40, 59), number, "beat")

    def register(self, now: float, number: int) -> None:
        if number in self.alive:
            self.services.register(self.of(number), at(now))

    def beat(self, now: float, number: int) -> None:
        if number not in self.alive or now < self.alive[number]:
            return
        if not self.is_away(now) and self.services.beat(f"agent-{number}", Beat(), at(now)) is None:
            raise AssertionError(f"{number} lives and is not there at {now}")
        since = self.alive[number]
        self.plan(now + self.random.uniform(40, 59), number, "beat")
        assert since <= now

    def kill(self, now: float, number: int) -> None:
        if number in self.alive:
            del self.alive[number]
            self.died[number] = now
            self.plan(now + self.random.choice([5, 100, 400, 3000]), number, "start")

    def leave(self, now: float, number: int) -> None:
        if number in self.alive and not self.is_away(now):
            assert kinds(self.services.remove(f"agent-{number}")) == ["deregistered"]
            assert self.services.find(f"agent-{number}") is None
        self.kill(now, number)

    def restart(self, now: float, number: int) -> None:
        """The gateway is gone for a while, and begins with what was written down."""
        self.counts["gateways"] += 1
        self.away = (now, now + 600)
        kept = list(self.services)
        self.services = Services(PACE_S)
        self.services.restore([replace(each) for each in kept], at(now + 600))

    def is_away(self, now: float) -> bool:
        return self.away[0] <= now < self.away[1]

    def tick(self, now: float, number: int) -> None:
        if self.is_away(now):
            return
        news = self.services.advance(at(now))
        self.counts["removed"] += sum(each.kind == "removed" for each in news)
        there = [each.id for each in self.services]
        assert len(there) == len(set(there)) <= 200
        for each in self.alive:
            found = self.services.find(f"agent-{each}")
            if self.alive[each] < now:
                assert found is not None, f"{each} lives at {now}"
                assert (found.status, found.missed) == ("ok", 0), f"{each} lives at {now}"
        for each, died in self.died.items():
            heard_until = max(died, self.away[1] if died < self.away[1] <= now else 0)
            if now >= heard_until + GONE_S:
                assert self.services.find(f"agent-{each}") is None, f"{each} is dead since {died}, now {now}"


def test_in_a_day_of_random_restarts_the_live_are_found_the_dead_are_gone_and_nobody_is_there_twice() -> None:
    play = Play(1)
    play.run()
    assert play.counts["restarts"] > 1000
    assert play.counts["removed"] > 200
    assert play.counts["gateways"] == 3
