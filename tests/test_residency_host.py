"""The queue and the memory of one host, driven at random: what must hold after every step."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from llmrouterd.residency.forecast import Work, until_idle, until_slot
from llmrouterd.residency.host import Host
from llmrouterd.residency.ticket import CHAT, PRIORITIES, TASK, Limits, ModelNeeds, Ticket, live_for

GB = 10**9
SIZES = {"a": 5, "b": 4, "c": 3, "d": 9, "giant": 99, "pinned": 2, "fixed": 1, "apart": 2}
STEPS = int(os.environ.get("LLMROUTERD_MACHINE_STEPS", "10000"))
LENGTH = 100
# The backends' world, seconds: no answer takes longer, an unload, and how often time is told.
ANSWER, UNLOAD, TICK = 4.0, 1.0, 1.0
QUEUE = 8
# The longest turn of a model: the load of the largest, all who waited for it, one after the other,
# the last answer that was begun, and the unload.
TURN = SIZES["d"] + QUEUE * ANSWER + ANSWER + UNLOAD


def needs(name: str, pins: frozenset[str] = frozenset({"pinned"})) -> ModelNeeds:
    return ModelNeeds(
        size=SIZES[name] * GB,
        slots=None if name == "c" else 1 + len(name) % 2,
        load_seconds=float(SIZES[name]),
        pinned=name in pins,
        movable=name != "fixed",
        apart=frozenset({"c"}) if name == "apart" else frozenset(),
    )


class HostMachine(RuleBasedStateMachine):
    """Plays the backends: it carries out what the host asks for, in any order and as late as the
    world allows, and knows by itself what is in memory. Crowds ask without end."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.host = Host()
        self.limits = Limits(budget=12 * GB, queue=QUEUE, max_wait=20.0, minimum=5.0, spared=60.0)
        self.models = {name: needs(name) for name in SIZES}
        self.memory = {"fixed"}
        self.pending: list[tuple[str, str, float]] = []  # ... and when it is done
        self.ends: dict[int, float] = {}
        self.crowds: dict[str, int] = {}
        self.due: dict[int, float] = {}
        self.answered: dict[int, str] = {}
        self.tickets: list[Ticket] = []
        self.gone: set[int] = set()
        self.host.configure(self.limits, self.models, self.now)
        self.host.report({"fixed": GB}, ["fixed"], self.now)
        self.carry_out()

    def carry_out(self) -> None:
        for action in self.host.take():
            if action.kind in ("start", "refuse"):
                ticket = action.ticket
                assert ticket is not None
                assert id(ticket) not in self.answered, "answered twice"
                assert id(ticket) not in self.gone, "answered after it left"
                self.answered[id(ticket)] = action.kind
                if action.kind == "start":
                    assert ticket.model in self.memory, "started on a model that is not loaded"
                    self.ends[id(ticket)] = self.now + ANSWER
                else:
                    assert action.reason
            else:
                self.check_move(action.kind, action.model)
                takes = self.models[action.model].load_seconds if action.kind == "load" else UNLOAD
                self.pending.append((action.kind, action.model, self.now + takes))
        self.check_waits()

    def check_waits(self) -> None:
        """Who has waited `max_wait` starts after at most the turn in hand, one of each model that
        others wait for who came earlier, and one of their own."""
        for ticket in self.host.waiting:
            if self.now - ticket.since < self.limits.max_wait:
                continue
            before = {
                each.model
                for each in self.host.waiting
                if each.number < ticket.number and each.model != ticket.model
            }
            last = self.due.setdefault(id(ticket), self.now + (2 + len(before)) * TURN)
            assert self.now <= last, f"starved: {ticket.model}, {self.now - ticket.since:.0f} s"

    def excuse_a_turn(self) -> None:
        """What a backend or the owner has undone may have to be done again."""
        self.due = {key: last + TURN for key, last in self.due.items()}

    def check_move(self, kind: str, model: str) -> None:
        if kind == "load":
            assert not self.pending, "a load begins while another load or unload is in hand"
            assert model not in self.memory
            taken = sum(self.models[name].size for name in self.memory) + self.models[model].size
            assert taken <= (self.limits.budget or taken), "over-commit"
        else:
            assert model in self.memory
            assert not any(ticket.model == model for ticket in self.host.running), "busy eviction"
            assert not self.models[model].pinned, "a pinned model is put out"
            live, moving = self.host.loaded[model], self.host.moving
            if self.now - live.since < self.limits.minimum:
                assert live.fleeting, "put out before its minimum residency"
                wanted = [each for each in self.host.waiting if each.model == moving.target]
                assert any(not each.background for each in wanted), "put out for no chat"

    @rule(
        model=st.sampled_from(sorted(SIZES)),
        priority=st.integers(0, len(PRIORITIES) - 1),
        client=st.sampled_from("xyz"),
    )
    def arrive(self, model: str, priority: int, client: str) -> None:
        ticket = Ticket(model=model, priority=priority, client=client)
        self.tickets.append(ticket)
        self.host.arrive(ticket, self.now)
        self.carry_out()

    @precondition(lambda self: self.host.running)
    @rule(data=st.data())
    def finish(self, data: Any) -> None:
        self.host.leave(data.draw(st.sampled_from(self.host.running)), self.now)
        self.carry_out()

    @precondition(lambda self: self.host.waiting)
    @rule(data=st.data())
    def cancel(self, data: Any) -> None:
        ticket = data.draw(st.sampled_from(self.host.waiting))
        self.gone.add(id(ticket))
        self.host.leave(ticket, self.now)
        self.carry_out()

    @precondition(lambda self: self.pending)
    @rule(fails=st.sampled_from([False, False, False, True]))
    def move(self, fails: bool) -> None:
        if not fails:
            self.move_well()
            return
        _, model, _ = self.pending.pop(0)
        self.host.set_failed(model, self.now, "it did not work")
        self.carry_out()

    @rule(model=st.sampled_from(sorted(SIZES)), priority=st.integers(0, TASK))
    def crowd(self, model: str, priority: int) -> None:
        """Comes, or goes if it is there: from now on more ask for a model than it has slots."""
        if self.crowds.pop(model, None) is None:
            self.crowds[model] = priority

    @rule(seconds=st.sampled_from([0.1, 1.0, 6.0, 25.0, 100.0, 300.0]))
    def wait(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self.ask_in_crowds()
            ends = [last for _, _, last in self.pending]
            ends += [self.ends[id(ticket)] for ticket in self.host.running]
            self.now = min([until, self.now + TICK, *(max(self.now, end) for end in ends)])
            while self.pending and self.pending[0][2] <= self.now:
                self.move_well()
            for ticket in list(self.host.running):
                if self.ends[id(ticket)] <= self.now:
                    self.host.leave(ticket, self.now)
                    self.carry_out()
            self.host.advance(self.now)
            self.carry_out()

    def ask_in_crowds(self) -> None:
        for model, priority in self.crowds.items():
            tickets = (*self.host.waiting, *self.host.running)
            there = sum(each.model == model and each.client == "crowd" for each in tickets)
            for _ in range(there, (self.models[model].slots or 2) + 1):
                self.arrive(model, priority, "crowd")

    @rule(more=st.booleans())
    def reload(self, more: bool) -> None:
        pins = frozenset({"pinned", "c"} if more else {"pinned"})
        served = [name for name in SIZES if name != "d" or more]
        self.models = {name: needs(name, pins) for name in SIZES}
        self.excuse_a_turn()
        self.host.configure(self.limits, {name: self.models[name] for name in served}, self.now)
        self.host.report(self.reported(served), served, self.now)
        self.carry_out()

    @precondition(lambda self: not self.pending)
    @rule(data=st.data())
    def somebody_else_unloads(self, data: Any) -> None:
        busy = {ticket.model for ticket in self.host.running}
        idle = sorted(self.memory - busy - {"fixed"})
        if idle:
            self.excuse_a_turn()
            self.memory.discard(data.draw(st.sampled_from(idle)))
            self.host.report(self.reported(SIZES), list(self.host.models), self.now)
            self.carry_out()

    def reported(self, served: Any) -> dict[str, int | None]:
        return {name: self.models[name].size for name in self.memory if name in served}

    @invariant()
    def slots_hold(self) -> None:
        for name, model in self.models.items():
            running = sum(ticket.model == name for ticket in self.host.running)
            assert model.slots is None or running <= model.slots

    @invariant()
    def everybody_is_somewhere(self) -> None:
        waiting = {id(ticket) for ticket in self.host.waiting}
        for ticket in self.tickets:
            assert (id(ticket) in waiting) + (id(ticket) in self.answered) + (
                id(ticket) in self.gone
            ) == 1
        assert len(self.host.waiting) <= self.limits.queue

    def teardown(self) -> None:
        """Left alone, with backends that work, everybody is answered within the bound."""
        for _ in range(400):
            if not self.host.waiting and not self.pending:
                return
            while self.pending:
                self.move_well()
            for ticket in list(self.host.running):
                self.host.leave(ticket, self.now)
                self.carry_out()
            self.now += 5.0
            self.host.advance(self.now)
            self.carry_out()
        starved = [(t.model, PRIORITIES[t.priority]) for t in self.host.waiting]
        raise AssertionError(f"starved: {starved}")

    def move_well(self) -> None:
        kind, model, _ = self.pending.pop(0)
        if kind == "load":
            self.memory.add(model)
            self.host.set_loaded(model, self.now, self.models[model].size)
        else:
            self.memory.discard(model)
            self.host.set_unloaded(model, self.now)
        self.carry_out()


TestHost = HostMachine.TestCase
TestHost.settings = settings(
    max_examples=max(1, STEPS // 80),  # about as many steps are taken each time
    stateful_step_count=LENGTH,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def make(**more: Any) -> Host:
    host = Host()
    limits = Limits(**{"budget": 12 * GB, "max_wait": 20.0, "minimum": 0.0, **more})
    host.configure(limits, {name: needs(name) for name in "abcd"}, 0.0)
    return host


def kinds(host: Host) -> list[tuple[str, str]]:
    return [(a.kind, a.ticket.model if a.ticket else a.model) for a in host.take()]


def test_two_requests_for_a_cold_model_cause_one_load() -> None:
    host = make()
    host.arrive(Ticket(model="a"), 0.0)
    host.arrive(Ticket(model="a"), 0.1)
    assert kinds(host) == [("load", "a")]
    host.set_loaded("a", 5.0)
    assert kinds(host) == [("start", "a"), ("start", "a")]


def test_those_for_the_loaded_model_pass_until_the_other_has_waited_long_enough() -> None:
    host = make()
    host.arrive(Ticket(model="d"), 0.0)
    host.set_loaded("d", 1.0)
    running = host.running[0]
    host.arrive(Ticket(model="a"), 2.0)
    host.arrive(Ticket(model="d", client="other"), 3.0)
    assert ("start", "d") in kinds(host)
    assert host.waiting[0].model == "a"
    host.advance(22.5)
    host.arrive(Ticket(model="d", client="third"), 23.0)
    assert not kinds(host)
    for ticket in (running, *host.running):
        host.leave(ticket, 24.0)
    assert ("unload", "d") in kinds(host)
    host.set_unloaded("d", 25.0)
    assert kinds(host) == [("load", "a")]
    host.set_loaded("a", 27.0)
    assert kinds(host) == [("start", "a")]


def test_clients_take_turns_within_a_priority_and_chats_come_first() -> None:
    host = make()
    host.arrive(Ticket(model="b", client="x"), 0.0)
    host.set_loaded("b", 0.5)
    host.arrive(Ticket(model="b", client="x"), 1.0)
    host.take()
    order = [
        Ticket(model="b", client=client, priority=priority)
        for client, priority in (("x", 0), ("x", 0), ("x", 0), ("y", 0), ("z", TASK), ("z", 0))
    ]
    for ticket in order:
        host.arrive(ticket, 2.0)
    served = []
    while host.running:
        host.leave(host.running[0], 3.0)
        served += [order.index(a.ticket) for a in host.take() if a.ticket in order]
    # x is being served already, so the others go first.
    assert served == [3, 5, 0, 1, 2, 4]


def test_a_full_queue_refuses_the_least_important() -> None:
    host = make(queue=2)
    host.arrive(Ticket(model="b"), 0.0)
    host.arrive(Ticket(model="b", priority=TASK), 0.0)
    host.take()
    chat, more = Ticket(model="b"), Ticket(model="b", client="y")
    host.arrive(chat, 0.1)
    found = host.take()
    assert [(a.kind, a.ticket.priority) for a in found if a.ticket] == [("refuse", TASK)]
    host.arrive(more, 0.2)
    found = host.take()
    assert [a.kind for a in found] == ["refuse"]
    assert found[0].retry_after >= 1.0


def test_background_work_does_not_put_out_a_model_that_a_chat_has_used() -> None:
    host = make(spared=600.0)
    chat = Ticket(model="d")
    host.arrive(chat, 0.0)
    host.set_loaded("d", 1.0)
    host.leave(chat, 2.0)
    host.take()
    host.arrive(Ticket(model="a", priority=TASK), 100.0)
    found = host.take()
    assert [a.kind for a in found] == ["refuse"]
    assert "background" in found[0].reason
    host.arrive(Ticket(model="a", priority=TASK), 700.0)
    assert kinds(host) == [("unload", "d")]


def test_a_model_that_can_never_fit_is_refused_with_the_numbers() -> None:
    host = make(budget=4 * GB)
    host.arrive(Ticket(model="d"), 0.0)
    found = host.take()
    assert [a.kind for a in found] == ["refuse"]
    assert "9.0 GB of 4.0 GB" in found[0].reason
    assert host.standings(["d"], 0.0)["d"].state == "refused"


def test_an_estimated_wait_beyond_the_limit_is_refused_at_once() -> None:
    host = make(refuse_wait=9.0)
    first, failed = Ticket(model="b"), Ticket(model="b")
    host.arrive(first, 0.0)
    host.set_loaded("b", 1.0)
    first.answered = True
    host.leave(first, 21.0)
    host.arrive(failed, 21.5)
    host.leave(failed, 21.6)  # tells nothing of how long an answer takes
    for at in (22.0, 22.1):
        host.arrive(Ticket(model="b"), at)
    host.take()
    host.arrive(Ticket(model="b"), 22.2)
    assert [a.kind for a in host.take()] == ["refuse"]


def test_the_expected_wait_counts_the_loads_of_who_came_before() -> None:
    names = "abcd"
    given = {
        name: ModelNeeds(size=6 * GB, slots=1, load_seconds=2.0, answer_seconds=3.0)
        for name in names
    }
    host = Host(Limits(budget=10 * GB))
    host.configure(host.limits, given, 0.0)
    waits = []
    for name in names:
        waits.append(host.standings([name], 1.0)[name].wait)
        host.arrive(Ticket(model=name), 1.0)
    assert waits == [0.0, 5.0, 10.0, 15.0]
    # Who waits is not behind itself, and nobody behind those who came later.
    told = [host.standings([t.model], 2.5, CHAT, t)[t.model] for t in host.waiting]
    assert [each.state for each in told] == ["loading", "absent", "absent", "absent"]
    assert [each.wait for each in told] == [0.5, 3.5, 8.5, 13.5]
    assert host.standings("a", 2.5)["a"].wait == 0.5 + 3.0
    both = Limits(budget=24 * GB)
    host.configure(both, given, 1.5)
    assert host.standings("d", 2.0)["d"].wait == 1.0 + 2.0 + 2.0 + 3.0  # its own request, too
    host.set_loaded("a", 3.0)
    assert host.standings("a", 3.0)["a"].wait == 3.0  # what is loaded waits for no load


def test_a_failed_load_tells_all_who_wait_and_rests() -> None:
    host = make()
    for _ in range(2):
        host.arrive(Ticket(model="a"), 0.0)
    host.take()
    host.set_failed("a", 3.0, "a made no progress")
    assert kinds(host) == [("refuse", "a"), ("refuse", "a")]
    host.arrive(Ticket(model="a"), 4.0)
    assert kinds(host) == [("refuse", "a")]
    host.arrive(Ticket(model="a"), 20.0)
    assert kinds(host) == [("load", "a")]


def test_what_a_backend_said_before_a_move_of_ours_does_not_undo_it() -> None:
    host = make()
    host.arrive(Ticket(model="a"), 0.0)
    host.set_loaded("a", 5.0)
    host.leave(host.running[0], 6.0)
    host.report({}, ["a"], 6.1, asked_at=4.0)
    assert "a" in host.loaded
    host.report({}, ["a"], 7.0, asked_at=6.5)
    assert "a" not in host.loaded


def test_a_model_that_answers_other_clients_is_not_put_out() -> None:
    host = make(minimum=0.0)
    first = Ticket(model="a")
    host.arrive(first, 0.0)
    kinds(host)
    host.set_loaded("a", 5.0)
    first.answered = True
    host.leave(first, 10.0)
    kinds(host)
    host.see_busy("a", 1, asked_at=10.5)  # may be our own, which has just ended
    assert host.elsewhere("a", 10.5) == 0
    host.see_busy("a", 1, asked_at=20.0)
    assert host.elsewhere("a", 20.5) == 1
    assert host.room(20.5).held[0].chat_idle == 0.5
    host.see_busy("a", None, asked_at=20.2)  # it was too busy to tell
    assert host.elsewhere("a", 79.0) == 1  # though an answer takes 5 s
    assert host.elsewhere("a", 81.0) == 0
    host.arrive(Ticket(model="d"), 20.5)
    assert kinds(host) == []
    host.see_busy("a", 0, asked_at=21.0)
    host.advance(21.0)
    assert kinds(host) == [("unload", "a")]


def test_others_use_a_model_when_the_end_of_its_stay_moves_without_us() -> None:
    host = make(minimum=0.0)

    def see(model: str, expires: str | None, now: float) -> float:
        """Seconds since a chat has used it, after a report."""
        host.see_busy(model, 0, now, expires)
        host.report({model: None} if expires else {}, [model], now)
        return next((held.chat_idle for held in host.room(now).held if held.model == model), -1.0)

    assert see("a", "5:00", 10.0) > 1e6  # who has loaded it, and when, is not known
    assert see("a", "5:10", 20.0) == 0.0
    assert see("a", "5:10", 30.0) == 10.0
    ours = Ticket(model="a", priority=TASK)
    host.arrive(ours, 40.0)
    assert see("a", "5:30", 45.0) == 25.0
    host.leave(ours, 50.0)
    assert see("a", "5:40", 50.5) == 30.5
    assert see("a", "5:41", 60.0) == 40.0  # what was seen last may have been too early for ours
    assert see("a", "5:50", 70.0) == 0.0
    kinds(host)
    host.arrive(Ticket(model="d", priority=TASK), 71.0)
    assert [action.kind for action in host.take()] == ["refuse"]
    assert see("b", None, 80.0) == -1.0
    assert see("b", "6:00", 90.0) == 0.0  # others have loaded it


def test_measuring_and_probing_are_no_use_of_a_model() -> None:
    host = Host()
    host.configure(Limits(), {"c": needs("c")}, 0.0)
    host.report({"c": GB}, ["c"], 0.0)
    expected = []
    for priority in (PRIORITIES.index("profiling"), TASK):
        ticket = Ticket(model="c", priority=priority)
        host.arrive(ticket, 1.0)
        host.leave(ticket, 31.0)
        expected.append((host.reuse.chance("c", 1.0, 31.0) > 0.0, host.elsewhere("c", 31.0)))
    assert expected == [(False, 0), (True, 0)]


def test_what_a_model_was_put_out_for_is_loaded_next() -> None:
    host = make(max_wait=20.0)
    host.configure(host.limits, {name: replace(needs(name), slots=1) for name in "ad"}, 0.0)
    running = Ticket(model="d")
    host.arrive(running, 0.0)
    host.set_loaded("d", 1.0)
    before, other, after = Ticket(model="d"), Ticket(model="a"), Ticket(model="d")
    for at, ticket in ((2.0, before), (3.0, other), (4.0, after)):
        host.arrive(ticket, at)
    host.advance(30.0)  # all three have waited long enough
    host.take()
    host.leave(running, 31.0)
    assert host.running == [before]  # came before whom the model has to go for
    host.leave(before, 32.0)
    assert kinds(host) == [("start", "d"), ("unload", "d")]
    host.set_unloaded("d", 32.5)
    assert kinds(host) == [("load", "a")]
    host.set_loaded("a", 33.0)
    assert host.running == [other]


def test_who_waited_when_a_model_was_loaded_is_served_before_it_has_to_go() -> None:
    host = make(max_wait=20.0)
    host.configure(host.limits, {name: replace(needs(name), slots=1) for name in "ad"}, 0.0)
    running = Ticket(model="a")
    host.arrive(running, 0.0)
    host.set_loaded("a", 1.0)
    first, other, second, late = (Ticket(model=model) for model in "dadd")
    for at, ticket in ((2.0, first), (3.0, other), (4.0, second)):
        host.arrive(ticket, at)
    host.advance(30.0)  # all three have waited long enough
    host.leave(running, 31.0)
    host.set_unloaded("a", 31.5)
    host.set_loaded("d", 35.0)
    assert host.running == [first]
    host.arrive(late, 36.0)
    host.leave(first, 40.0)
    assert host.running == [second]  # came after `other`, but is here already: one load for both
    host.take()
    host.leave(second, 45.0)
    assert kinds(host) == [("unload", "d")]  # `late` came after the load
    host.set_unloaded("d", 45.5)
    host.set_loaded("a", 47.0)
    assert host.running == [other]


def test_measurements_are_no_part_of_a_batch() -> None:
    chat = Ticket(model="a", number=3)
    assert live_for([chat, Ticket(model="a", priority=3, number=9)], 0.0).batch == 3
    assert live_for([], 0.0).batch == 0


def test_the_expected_wait_counts_who_is_before_and_what_is_in_hand() -> None:
    work = Work(usual=10.0, slots=2, running=(4.0, 30.0), waiting=3, others=1)
    assert until_slot(work) == 5 / 2 * 10.0
    assert until_slot(work._replace(slots=None)) == 0.0
    assert until_slot(work._replace(waiting=0, running=(), others=1)) == 0.0
    assert until_idle(work) == 6.0 + 3 / 2 * 10.0
    assert until_idle(work._replace(running=(30.0,), waiting=0)) == 0.5
    assert until_idle(work._replace(stays=99.0)) == 99.0


def test_what_was_loaded_for_background_work_makes_no_chat_wait() -> None:
    host = make(minimum=10.0)
    profiled = Ticket(model="d", priority=3)
    host.arrive(profiled, 0.0)
    host.set_loaded("d", 1.0)
    host.leave(profiled, 2.0)
    host.take()
    host.arrive(Ticket(model="a"), 3.0)
    assert kinds(host) == [("unload", "d")]
    host.set_unloaded("d", 3.5)
    host.set_loaded("a", 5.0)
    host.leave(host.running[0], 6.0)
    host.take()
    host.arrive(Ticket(model="d"), 7.0)
    assert kinds(host) == []  # the chat's model has its time
    host.advance(15.5)
    assert kinds(host) == [("unload", "a")]
