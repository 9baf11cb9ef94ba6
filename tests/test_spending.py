"""Budgets of backends: what answers have cost is counted, kept, and bounds what may be asked."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmrouterd.backends.base import Frame
from llmrouterd.decision import Ask, decide
from llmrouterd.errors import BudgetSpent, UpstreamTimeout, UpstreamUnreachable
from llmrouterd.journal import RecordEncoder
from llmrouterd.metrics import Metrics
from llmrouterd.policy import BackendSpec, Policy
from llmrouterd.policy_budget import Budget
from llmrouterd.scorer import Load
from llmrouterd.spending import Spending
from llmrouterd.store import Store
from tests.conftest import Scripted
from tests.support.daemon import Running, open_running, openai_backend
from tests.support.faults import FaultServer
from tests.support.policies import catalog, model, policy, signals

# 1 dollar a prompt token and 10 an answer token: sums that a person can add up.
PRICE = (1e6, 10e6)
BACKENDS = """
backends:
  - {name: cloud, type: openai, url: "http://127.0.0.1:9/v1", budget: {usd_per_day: 100}}
  - {name: box, type: openai, url: "http://127.0.0.1:9/v1"}
rules: [{name: default}]
"""
DEAR = model("cloud/dear", price=PRICE, remote=True, quality={"overall": 0.95})
HOME = model("box/home", quality={"overall": 0.6})


class Clock:
    def __init__(self, text: str) -> None:
        self.set(text)

    def set(self, text: str) -> None:
        self.now = time.mktime(time.strptime(text, "%Y-%m-%d %H:%M"))

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock("2026-11-30 12:00")


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "s.db", most=10, encode=RecordEncoder().encode, on_error=pytest.fail)
    yield store
    store.close()


def opened(kept: Store, clock: Clock) -> tuple[Spending, list[tuple[str, dict[str, Any]]]]:
    events: list[tuple[str, dict[str, Any]]] = []
    made = Spending(kept, Metrics(), lambda name, fields: events.append((name, fields)), clock)
    made.restore([])
    return made, events


def spec_of(made: Policy, budget: Budget | None = None) -> BackendSpec:
    spec = made.backend("cloud")
    assert spec is not None
    return replace(spec, budget=budget) if budget else spec


def frame(content: str = "", usage: Mapping[str, Any] | None = None) -> Frame:
    chunk: dict[str, Any] = {"choices": [{"delta": {"content": content}}] if content else []}
    return Frame(b"", {**chunk, "usage": usage} if usage else chunk)


def test_a_spent_backend_is_no_candidate_and_never_bent_also_where_it_is_named() -> None:
    made, dear = policy(BACKENDS), replace(DEAR, price=(1.0, 2.0))
    models = catalog(dear, HOME)
    usual = decide(signals(), made, models, Load())
    assert usual.ranked[0].model == "cloud/dear"
    load = Load(spent={"cloud": "spent 100.00 of 100.00 dollars today"})
    found = decide(signals(), made, models, load)
    assert [one.model for one in found.ranked] == ["box/home"]
    assert found.rejected == (("cloud/dear", "budget", "spent 100.00 of 100.00 dollars today"),)
    with pytest.raises(BudgetSpent, match=r"cloud/dear: spent 100\.00 of 100\.00 dollars today"):
        decide(signals(), made, catalog(dear), load)
    short = catalog(replace(dear, context=1000))
    with pytest.raises(BudgetSpent):  # a short context may be bent, and not together with this
        decide(signals(prompt_tokens=900, max_tokens=500), made, short, load)
    with pytest.raises(BudgetSpent, match="No budget is left"):
        decide(signals(), made, models, load, Ask("", (dear,)))
    twins = (replace(dear, id="box/dear", backend="box"), dear)
    named = decide(signals(), made, catalog(*twins), load, Ask("", twins))
    assert [one.model for one in named.ranked] == ["box/dear"]
    assert [(one.model, one.gate) for one in named.rejected] == [("cloud/dear", "budget")]


def test_a_model_without_a_price_has_no_place_under_a_budget() -> None:
    unknown = model("cloud/unknown", remote=True, price=None)
    found = decide(signals(), policy(BACKENDS), catalog(unknown, HOME), Load())
    assert [(one.model, one.gate) for one in found.rejected] == [("cloud/unknown", "budget")]
    free = replace(unknown, price=(0.0, 0.0))
    assert not decide(signals(), policy(BACKENDS), catalog(free, HOME), Load()).rejected
    without = policy(BACKENDS.replace(", budget: {usd_per_day: 100}", ""))
    assert not decide(signals(), without, catalog(unknown, HOME), Load()).rejected


def test_usage_is_charged_and_kept_over_a_restart(kept: Store, clock: Clock) -> None:
    made = policy(BACKENDS)
    spending, events = opened(kept, clock)
    spec = spec_of(made)
    for _ in range(2):
        bill = spending.open(DEAR, spec, signals(prompt_tokens=5), made)
        assert bill is not None
        bill.read(
            [frame("Hel"), frame("lo"), frame(usage={"prompt_tokens": 10, "completion_tokens": 4})]
        )
        bill.settle()
    assert spending.describe(spec)["usd_today"] == 100.0
    assert spending.spent(made.backends) == {"cloud": "spent 100.00 of 100.00 dollars today"}
    fields = {"backend": "cloud", "period": "day", "limit": 100.0, "spent": 100.0}
    assert events == [("budget.spent", fields)]
    again, _ = opened(kept, clock)
    again.restore(kept.run(lambda database: list(database["spending"].rows)).result(5))
    assert again.describe(spec) == spending.describe(spec)
    assert again.left(spec) == {"day": 0.0}


def test_a_new_day_and_a_new_month(kept: Store, clock: Clock) -> None:
    made = policy(BACKENDS)
    spending, _ = opened(kept, clock)
    spec = spec_of(made, Budget(usd_per_day=30.0, usd_per_month=50.0))
    clock.set("2026-11-29 23:59")
    spending.charge(DEAR, spec, 30.0)
    assert spending.spent([spec]) == {"cloud": "spent 30.00 of 30.00 dollars today"}
    clock.set("2026-11-30 00:00")
    assert spending.spent([spec]) == {}
    bill = spending.open(DEAR, spec, signals(prompt_tokens=20), made)  # begins on the 30th
    clock.set("2026-11-30 12:00")
    assert bill is not None
    bill.count({"prompt_tokens": 20, "completion_tokens": 0})
    bill.settle()
    assert spending.spent([spec]) == {"cloud": "spent 50.00 of 50.00 dollars this month"}
    clock.set("2026-12-01 00:00")
    assert spending.spent([spec]) == {}
    assert spending.describe(spec)["usd_this_month"] == 0.0
    rows = kept.run(lambda database: list(database["spending"].rows)).result(5)
    assert {row["day"]: row["usd"] for row in rows} == {"2026-11-29": 30.0, "2026-11-30": 20.0}
    clock.set("2026-11-30 23:00")
    again, _ = opened(kept, clock)
    again.restore(rows)
    assert again.describe(spec)["usd_today"] == 20.0
    assert again.describe(spec)["usd_this_month"] == 50.0


def test_missing_usage_is_bounded_from_above(kept: Store, clock: Clock) -> None:
    made = policy(BACKENDS)
    spending, _ = opened(kept, clock)
    spec = spec_of(made)
    bill = spending.open(DEAR, spec, signals(prompt_tokens=7), made)
    assert bill is not None
    bill.read([frame("Hello there"), Frame(b": comment", None), frame("ü")])
    bill.settle()
    assert spending.describe(spec)["usd_today"] == 7 + 10 * (6 + 2)
    counted = spending.open(DEAR, spec, signals(prompt_tokens=7), made)
    assert counted is not None
    # Counts in every chunk, and then it breaks off: only what came since is guessed.
    counted.read([frame("Hello", {"prompt_tokens": 3, "completion_tokens": 1}), frame(" you")])
    counted.settle()
    assert spending.describe(spec)["usd_today"] == 87 + 3 + 10 * (1 + 2)


def test_tool_calls_and_thoughts_count(kept: Store, clock: Clock) -> None:
    made = policy(BACKENDS)
    spending, _ = opened(kept, clock)
    spec = spec_of(made)
    bill = spending.open(DEAR, spec, signals(prompt_tokens=0), made)
    assert bill is not None
    calls = [{"function": {"arguments": "{}"}}]
    for delta in ({"reasoning_content": "Hm"}, {"tool_calls": calls}):
        bill.read([Frame(b"", {"choices": [{"delta": delta}]})])
    bill.settle()
    of_calls = (len('[{"function":{"arguments":"{}"}}]') + 1) // 2
    assert spending.describe(spec)["usd_today"] == 10 * (1 + of_calls)


def test_what_is_under_way_is_held(kept: Store, clock: Clock) -> None:
    made = policy(BACKENDS)
    spending, _ = opened(kept, clock)
    spec = spec_of(made)
    bills = [
        spending.open(DEAR, spec, signals(prompt_tokens=30, max_tokens=2), made) for _ in range(2)
    ]
    held = "spent 0.00 of 100.00 dollars today, and 100.00 more are under way"
    assert spending.spent([spec]) == {"cloud": held}
    assert bills[0]
    assert bills[1]
    bills[0].fail(UpstreamUnreachable("refused"))  # nothing was generated
    assert spending.spent([spec]) == {}
    assert spending.describe(spec)["usd_today"] == 0.0
    bills[1].fail(UpstreamTimeout("too late"))  # it may have read the prompt
    assert spending.describe(spec)["usd_today"] == 30.0
    assert spending.describe(spec)["usd_under_way"] == 0.0


def test_what_costs_nothing_has_no_bill(kept: Store, clock: Clock) -> None:
    made = policy(BACKENDS)
    spending, _ = opened(kept, clock)
    assert spending.open(HOME, spec_of(made), signals(), made) is None
    assert spending.open(replace(HOME, price=(0.0, 0.0)), spec_of(made), signals(), made) is None


@pytest.fixture
def priced(scripted: Scripted) -> Any:
    async def opener(*names: str, usd: float = 1000.0, **more: Any) -> tuple[Running, FaultServer]:
        backend = {"budget": {"usd_per_day": usd}, **more}
        prices = [{"match": "s/*", "price": {"input": PRICE[0], "output": PRICE[1]}}]
        return await scripted(*names, backend=backend, models=prices)

    return opener


async def spending_of(daemon: Running) -> dict[str, Any]:
    (found,) = (await daemon.get("/admin/backends")).data["backends"]
    spending: dict[str, Any] = found["spending"]
    return spending


@pytest.mark.parametrize("stream", [False, True])
async def test_a_daemon_charges_and_then_refuses(priced: Any, stream: bool) -> None:
    daemon, backend = await priced("ok", usd=1.0)
    first = await daemon.chat("Hello", stream=stream)
    assert first.status == 200
    spent = await spending_of(daemon)
    usage = (await daemon.get("/admin/decisions")).data["decisions"][0]
    cost = usage["prompt_tokens"] + 10 * usage["completion_tokens"]
    assert spent["usd_today"] == spent["usd_this_month"] == cost > 1.0
    assert spent["usd_under_way"] == 0.0
    asked = len(backend.asked)
    for name in (None, "s/ok"):
        refused = await daemon.chat("Hello", **({"model": name} if name else {}))
        assert (refused.status, refused.error["code"]) == (402, "budget_spent")
        assert f"spent {cost:.2f} of 1.00 dollars today" in refused.error["message"]
        kept = await daemon.get(f"/admin/decisions/{refused.headers['x-router-decision']}")
        assert kept.data["outcome"] == "budget_spent"
        assert kept.data["mode"] == ("explicit" if name else "routed")
        assert f"not s/ok: spent {cost:.2f} of 1.00 dollars today (budget)" in kept.data["words"]
    assert len(backend.asked) == asked
    metrics = (await daemon.get("/metrics")).body.decode()
    assert f'llmrouterd_spent_dollars_total{{model="s/ok"}} {float(cost)}' in metrics
    assert 'llmrouterd_budget_left_dollars{backend="s",period="day"} 0.0' in metrics
    assert 'llmrouterd_answers_total{outcome="refused"} 2.0' in metrics
    assert daemon.events.of("budget.spent")


async def test_an_edit_of_the_budget_counts_at_once(priced: Any) -> None:
    daemon, _ = await priced("ok", usd=1.0)
    await daemon.chat("Hello")
    assert (await daemon.chat("Hello")).status == 402
    edited = yaml.safe_load(daemon.policy_file.read_text("utf-8"))
    edited["backends"][0]["budget"]["usd_per_day"] = 1e6
    daemon.policy_file.write_text(yaml.safe_dump(edited), "utf-8")
    reloaded = await daemon.post("/admin/reload", {})
    assert reloaded.status == 200
    assert (await daemon.chat("Hello")).status == 200
    assert (await spending_of(daemon))["usd_per_day"] == 1e6
    edited["backends"][0]["budget"] = {"usd_per_month": 2.0}
    daemon.policy_file.write_text(yaml.safe_dump(edited), "utf-8")
    await daemon.post("/admin/reload", {})
    refused = await daemon.chat("Hello")
    assert "of 2.00 dollars this month" in refused.error["message"]


async def test_a_stream_without_usage_or_an_end_costs_too(priced: Any) -> None:
    daemon, _ = await priced("ok", stream_usage=False)
    await daemon.chat("Hello", stream=True)
    without_counts = await spending_of(daemon)
    assert without_counts["usd_today"] > 0
    broken, _ = await priced("drop-mid-stream")
    await broken.chat("Hello", stream=True)
    assert (await spending_of(broken))["usd_today"] > 0
    assert (await spending_of(broken))["usd_under_way"] == 0.0


async def test_an_error_costs_nothing(priced: Any) -> None:
    daemon, _ = await priced("500")
    assert (await daemon.chat("Hello")).status == 500
    assert (await spending_of(daemon))["usd_today"] == 0.0
    assert (await spending_of(daemon))["usd_under_way"] == 0.0


async def test_sums_outlive_the_daemon(tmp_path: Path) -> None:
    async with FaultServer(["ok"]) as server:
        backend = openai_backend("s", server.url, budget={"usd_per_day": 1.0})
        prices = [{"match": "s/*", "price": {"input": PRICE[0], "output": PRICE[1]}}]
        settings = {"backends": [backend], "models": prices}
        async with open_running(settings, tmp_path) as daemon:
            assert (await daemon.chat("Hello")).status == 200
            before = await spending_of(daemon)
        async with open_running(settings, tmp_path) as daemon:
            assert await spending_of(daemon) == before
            assert (await daemon.chat("Hello")).status == 402
