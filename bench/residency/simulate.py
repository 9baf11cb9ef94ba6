"""One box through one day: events in their order, no clock of the machine."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from bench.residency import world
from bench.residency.memories import KEEP_ALIVE, OUR_KEEP_ALIVE, LlamaRouter, Memory, Ollama, Ours
from bench.residency.trace import Conversation, Turn
from llmrouterd.catalog import Catalog, Model, ModelFacts
from llmrouterd.decision import decide
from llmrouterd.policy import Policy
from llmrouterd.residency.host import Host
from llmrouterd.residency.needs import host_limits, model_needs
from llmrouterd.residency.ticket import API, CHAT, TASK, Ticket
from llmrouterd.scorer import Load
from llmrouterd.signals import Signals

# Quality and nothing else, as routers choose that know nothing of memory.
QUALITY_ONLY = "rules: [{name: default, weights: {time: 0, eviction: 0, resident: 0, pinned: 0}}]\n"
_TICK = 0.25
# What a front end asks after an answer: tokens to write. Titles and tags after the first one.
_TASKS = (("title", 12), ("tags", 40))
_AFTER_EACH = (("follow_up", 80),)
_MOST_TASK_PROMPT = 2500


class Served(NamedTuple):
    """One request that was answered. waited: until its first token. quality: the chance of a good
    answer."""

    priority: int
    waited: float
    seconds: float
    quality: float


@dataclass(slots=True)
class Result:
    """refused: chats. left_out: background tasks that would have pushed a chat's model out. hours:
    from the first arrival to the last answer."""

    served: list[Served] = field(default_factory=list)
    refused: int = 0
    left_out: int = 0
    loads: int = 0
    hours: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A card and its models. most: what its owner sets as --models-max."""

    card: world.Card
    models: tuple[str, ...]
    most: int


class System(NamedTuple):
    """A way to choose, and a way to hold models. text: its policy. fixed: the one model of all.
    keep_alive: seconds, of an Ollama."""

    name: str
    kind: str
    text: str = "{}"
    fixed: bool = False
    keep_alive: float = KEEP_ALIVE


_BEST = "best model for each prompt"
SYSTEMS = (
    System(f"{_BEST}, Ollama", "ollama", QUALITY_ONLY),
    System(f"{_BEST}, Ollama, keep_alive 2h", "ollama", QUALITY_ONLY, keep_alive=OUR_KEEP_ALIVE),
    System(f"{_BEST}, llama.cpp router", "router", QUALITY_ONLY),
    System("one model for all, Ollama", "ollama", QUALITY_ONLY, fixed=True),
    System("llmrouterd", "ours"),
)


class _Asked(NamedTuple):
    conversation: Conversation
    number: int
    task: str
    turn: Turn
    at: float


class Simulation:
    """Runs one system on one box through a trace."""

    def __init__(self, box: Box, system: System) -> None:
        self.system = system
        self.catalog: Catalog = world.catalog(box.models, box.card)
        self.policy: Policy = world.policy(system.text)
        self.host: Host | None = None
        self.memory = self._open(box)
        self.result = Result()
        self._now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._ticking = False
        self._asked: dict[Ticket, tuple[_Asked, tuple[str, ...]]] = {}
        self._used: dict[str, str] = {}
        self._busy: dict[str, int] = {}
        # What each model's slots have read: conversation -> tokens, the oldest first.
        self._read: dict[str, dict[str, int]] = {}
        self._best = max(self.catalog.models, key=_overall).id

    def run(self, trace: list[Conversation]) -> Result:
        """What came out; every request is answered or refused."""
        for conversation in trace:
            self._ask_at(conversation.at, conversation, 0)
        while self._events:
            self._now, _, event = heapq.heappop(self._events)
            event()
        assert not self._asked, "requests are left without an answer"
        self.result.hours = (self._now - trace[0].at) / 3600 if trace else 0.0
        return self.result

    def _open(self, box: Box) -> Memory:
        sizes = {model.id: world.footprint(model.name) for model in self.catalog.models}
        if self.system.kind == "ollama":
            return Ollama(sizes, world.SLOTS, box.card.memory, self.system.keep_alive)
        if self.system.kind == "router":
            return LlamaRouter(sizes, world.SLOTS, box.most)
        text = f"residency: {{hosts: [{{name: local, vram_gb: {box.card.memory / 1e9}}}]}}\n"
        self.policy = world.policy(text + ("" if self.system.text == "{}" else self.system.text))
        spec = self.policy.backends[0]
        needs = {
            model.id: model_needs(
                model, spec, ModelFacts(name=model.name, movable=True), self.policy
            )
            for model in self.catalog.models
        }
        self.host = Host()
        self.host.configure(host_limits("local", self.policy), needs, 0.0)
        return Ours(self.host)

    def _at(self, when: float, event: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, event))

    def _ask_at(self, when: float, conversation: Conversation, number: int) -> None:
        asked = _Asked(conversation, number, "", conversation.turns[number], when)
        self._at(when, lambda: self._ask(asked))

    def _ask(self, asked: _Asked) -> None:
        turn, talk = asked.turn, asked.conversation
        signals = Signals(
            category=turn.category,
            probabilities={turn.category: 1.0},
            abstain=0.0,
            complexity=turn.complexity,
            prompt_tokens=turn.prompt,
            exact_tokens=True,
            task=asked.task,
            session=talk.name,
            client=talk.client,
        )
        self._try(asked, self._ranked(signals, _priority(asked)))

    def _ranked(self, signals: Signals, priority: int) -> tuple[str, ...]:
        if self.system.fixed:
            return (self._best,)
        used = self._used.get(signals.session, "")
        if signals.task and self.host is None:
            return (used,)  # Open WebUI takes the chat's own model unless it is told another
        ids = [model.id for model in self.catalog.models]
        load = Load(
            resident=self.memory.holds(),
            busy=dict(self._busy),
            slots=dict.fromkeys(ids, world.SLOTS),
            sticky=used,
            standing=self.host.standings(ids, self._now, priority) if self.host else {},
        )
        decision = decide(signals, self.policy, self.catalog, load)
        return tuple(candidate.model for candidate in decision.ranked)

    def _try(self, asked: _Asked, ranked: tuple[str, ...]) -> None:
        ticket = Ticket(
            model=ranked[0], priority=_priority(asked), client=asked.conversation.client
        )
        self._asked[ticket] = asked, ranked[1 : self.policy.failover.attempts]
        self.memory.arrive(ticket, self._now)
        self._act()

    def _act(self) -> None:
        for action in self.memory.take():
            ticket = action.ticket
            if ticket is None:
                self._move(action.kind, action.model)
            elif action.kind == "start":
                self._start(ticket)
            else:
                asked, others = self._asked.pop(ticket)
                if others:
                    self._at(self._now, lambda a=asked, o=others: self._try(a, o))  # type: ignore[misc]
                else:
                    self.result.refused += not asked.task
                    self.result.left_out += bool(asked.task)
                    self._go_on(asked)
        if self.memory.waits() and not self._ticking:
            self._ticking = True
            self._at(self._now + _TICK, self._tick)

    def _tick(self) -> None:
        self._ticking = False
        self.memory.advance(self._now)
        self._act()

    def _move(self, kind: str, model: str) -> None:
        if kind == "load":
            self.result.loads += 1
            seconds = self._model(model).profile.load_seconds or 0.0
            self._at(self._now + seconds, lambda: self._moved(self.memory.set_loaded, model))
        else:
            after = self._now + world.UNLOAD_SECONDS
            self._at(after, lambda: self._moved(self.memory.set_unloaded, model))

    def _moved(self, tell: Callable[[str, float], None], model: str) -> None:
        self._read.pop(model, None)
        tell(model, self._now)
        self._act()

    def _start(self, ticket: Ticket) -> None:
        asked, _ = self._asked[ticket]
        self._busy[ticket.model] = self._busy.get(ticket.model, 0) + 1
        profile = self._model(ticket.model).profile
        first = self._now + (profile.ttft_base_seconds or 0.0)
        first += self._unread(ticket.model, asked) / (profile.prefill_tokens_per_second or 1.0)
        end = first + asked.turn.output / (profile.decode_tokens_per_second or 1.0)
        waited = first - asked.at
        self._at(end, lambda: self._end(ticket, waited))

    def _unread(self, model: str, asked: _Asked) -> int:
        """Tokens of the prompt that are not in the cache of a slot from the turn before. A task's
        prompt begins with words of its own, and pushes out what was read longest ago."""
        slots = self._read.setdefault(model, {})
        key = f"{asked.conversation.name} {asked.task}"
        known = min(slots.pop(key, 0), asked.turn.shared)
        slots[key] = asked.turn.prompt + asked.turn.output
        while len(slots) > world.SLOTS:
            del slots[next(iter(slots))]
        return asked.turn.prompt - known

    def _end(self, ticket: Ticket, waited: float) -> None:
        asked, _ = self._asked.pop(ticket)
        self._busy[ticket.model] -= 1
        quality = self._quality(ticket.model, asked.turn)
        self.result.served.append(Served(ticket.priority, waited, self._now - asked.at, quality))
        ticket.answered = True
        self.memory.leave(ticket, self._now)
        if not asked.task:
            self._used[asked.conversation.name] = ticket.model
        self._act()
        self._go_on(asked)

    def _go_on(self, asked: _Asked) -> None:
        """The next turn, and what the front end wants after this one."""
        talk, number = asked.conversation, asked.number
        if asked.task:
            return
        if talk.tasks and talk.name in self._used:
            for name, output in (*(_TASKS if number == 0 else ()), *_AFTER_EACH):
                self._ask_task(asked, name, output)
        if number + 1 < len(talk.turns):
            self._ask_at(self._now + talk.turns[number + 1].think, talk, number + 1)

    def _ask_task(self, asked: _Asked, name: str, output: int) -> None:
        done = asked.turn
        turn = Turn(
            think=0.0,
            category="general",
            complexity=0.3,
            prompt=min(_MOST_TASK_PROMPT, done.prompt + done.output + 200),
            shared=0,
            output=output,
        )
        task = _Asked(asked.conversation, asked.number, name, turn, self._now)
        self._at(self._now, lambda: self._ask(task))

    def _model(self, name: str) -> Model:
        return self.catalog.by_id[name]

    def _quality(self, name: str, turn: Turn) -> float:
        signals = Signals(
            category=turn.category,
            probabilities={},
            abstain=0.0,
            complexity=turn.complexity,
        )
        return quality_of(self._model(name), signals, self.policy)


def _priority(asked: _Asked) -> int:
    return TASK if asked.task else CHAT if asked.conversation.interactive else API


def quality_of(model: Model, signals: Signals, policy: Policy) -> float:
    """The chance of a good answer as the daemon sees it."""
    alone = Catalog(models=(model,), by_id={model.id: model})
    return decide(signals, policy, alone, Load()).ranked[0].quality


def _overall(model: Model) -> float:
    return model.evidence["overall"].mean
