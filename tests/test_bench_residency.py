"""The simulator of boxes at home: the same by seed, nothing lost, and others' memories as told."""

from __future__ import annotations

import pytest

from bench.residency.__main__ import SCENES
from bench.residency.memories import KEEP_ALIVE, LlamaRouter, Memory, Ollama
from bench.residency.overload import ANSWER, LIMITS, LOAD, SLOTS, Run
from bench.residency.simulate import SYSTEMS, Simulation, System
from bench.residency.trace import make_trace
from bench.residency.world import footprint
from llmrouterd.residency.ticket import TASK, Ticket

SIZES = {"a": 5, "b": 5, "c": 3}


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: str(system.kind) + system.text[:1])
def test_a_seed_gives_one_day_and_every_request_an_answer(system: System) -> None:
    box, crowd = SCENES["24 GB, two people and two coding agents"]
    trace = make_trace(crowd, 3.0, seed=4)
    result = Simulation(box, system).run(trace)
    assert result == Simulation(box, system).run(trace)
    turns = sum(len(talk.turns) for talk in trace)
    chats = [served for served in result.served if served.priority < TASK]
    assert len(chats) + result.refused == turns
    # After each answer of a person's chat a follow-up, after the first a title and tags.
    tasks = sum(len(talk.turns) + 2 for talk in trace if talk.tasks)
    assert len(result.served) - len(chats) + result.left_out == tasks
    assert result.loads > 0
    assert all(0 < served.waited < served.seconds for served in result.served)
    assert make_trace(crowd, 3.0, seed=5) != trace


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: str(system.kind) + system.text[:1])
def test_no_more_is_loaded_than_there_is_room(system: System) -> None:
    box, crowd = SCENES["24 GB, a family of four"]
    simulation = Simulation(box, system)
    moved = simulation._moved

    def watched(tell: object, model: str) -> None:
        moved(tell, model)  # type: ignore[arg-type]
        names = [name.partition("/")[2] for name in simulation.memory.holds()]
        assert sum(map(footprint, names)) <= box.card.memory
        assert system.kind != "router" or len(names) <= box.most

    simulation._moved = watched  # type: ignore[method-assign]
    assert simulation.run(make_trace(crowd, 3.0, seed=1)).loads > 1


def told(memory: Memory) -> list[str]:
    return [
        f"{action.kind} {action.ticket.model if action.ticket else action.model}"
        for action in memory.take()
    ]


def test_ollama_holds_up_the_queue_behind_a_load_and_lets_the_oldest_go() -> None:
    memory = Ollama(SIZES, 1, budget=10)
    first, second = Ticket(model="a"), Ticket(model="b")
    memory.arrive(first, 0.0)
    memory.arrive(second, 0.0)
    assert told(memory) == ["load a"]
    memory.set_loaded("a", 5.0)
    assert told(memory) == ["load b", "start a"]
    memory.set_loaded("b", 10.0)
    memory.leave(first, 11.0)
    assert told(memory) == ["start b"]
    memory.arrive(Ticket(model="c"), 12.0)
    behind = Ticket(model="b")
    memory.arrive(behind, 12.0)
    assert told(memory) == ["unload a"]
    memory.leave(second, 13.0)
    assert told(memory) == []  # b is loaded and free, and still waits behind c
    memory.set_unloaded("a", 13.5)
    assert told(memory) == ["load c"]
    memory.set_loaded("c", 16.0)
    assert told(memory) == ["start b", "start c"]
    memory.leave(behind, 17.0)
    memory.advance(17.0 + KEEP_ALIVE + 1)
    assert memory.holds() == {"c"}


def test_a_busy_victim_of_llama_cpps_router_is_waited_for() -> None:
    memory = LlamaRouter(SIZES, 1, most=1)
    first = Ticket(model="a")
    memory.arrive(first, 0.0)
    memory.set_loaded("a", 5.0)
    memory.arrive(Ticket(model="b"), 6.0)
    memory.arrive(Ticket(model="a"), 7.0)  # too late: a is to go
    assert told(memory) == ["load a", "start a"]
    memory.leave(first, 9.0)
    assert told(memory) == ["unload a"]
    memory.set_unloaded("a", 9.5)
    memory.set_loaded("b", 14.0)
    assert told(memory) == ["load b", "start b"]


def test_a_box_with_too_much_to_do_loads_less_often_and_serves_more() -> None:
    # The most that one model could do without a single load, asked of four.
    busy, full = Run(0.1, seed=1), Run(0.25, seed=1)
    assert full.loads < busy.loads
    assert len(full.waits) > 1.8 * len(busy.waits)
    assert not busy.refused
    longest = LIMITS.max_wait + 2 * (LIMITS.queue * ANSWER / SLOTS + LOAD) + 3 * (ANSWER + LOAD)
    assert max(full.waits) < longest
