"""Checked data with all defaults -> Policy, and every problem of meaning with its place."""

from __future__ import annotations

import ipaddress
import re
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from llmrouterd.chat import Validators
from llmrouterd.classifier.form import FORMS, kind_of
from llmrouterd.config.access import build_auth
from llmrouterd.config.rules import build_rules, check_model
from llmrouterd.config.weights import blended_model, category_model
from llmrouterd.evidence import OVERALL
from llmrouterd.policy import (
    Assumed,
    BackendSpec,
    Benchmarks,
    Category,
    Globs,
    Logging,
    ManagedModel,
    ModelOverride,
    Policy,
    ProviderSpec,
    Scoring,
    Secret,
    Server,
    Sessions,
    Storage,
    Tasks,
    Timeouts,
)
from llmrouterd.policy_budget import Budget
from llmrouterd.policy_health import Failover, HealthLimits
from llmrouterd.policy_profiling import Abilities, Judge, LiveProfiles, Profiling
from llmrouterd.policy_reading import Classification, Complexity, Reasoning
from llmrouterd.policy_residency import LOCAL, HostSpec, Queue, Residency
from llmrouterd.request_schema import Limits
from llmrouterd.signature import render

if TYPE_CHECKING:
    from llmrouterd.classifier.lexicon import LexiconSet
    from llmrouterd.classifier.model import CategoryModel
    from llmrouterd.classifier.semantic import BlendedModel
    from llmrouterd.config.source import Path, Source
    from llmrouterd.evidence.figures import Figures
    from llmrouterd.policy_cases import PolicyTests
    from llmrouterd.problems import Problem

Data = dict[str, Any]
_PROVIDERS = {"ollama": "ollama", "llama.cpp": "llamacpp", "openai": "openai"}
SIGNATURE_FIELDS = ("model", "backend", "category", "rule", "decision")


def build_policy(
    filled: Data, source: Source, read: tuple[LexiconSet, Figures, PolicyTests], digest: str
) -> tuple[Policy, list[Problem]]:
    """Build the policy. read: what further files hold. With problems it is still built, but must
    not be used."""
    found = _Found(source)
    backends = _backends(filled, found)
    _check_server(filled["server"], found)
    _check_categories(filled, found)
    for at, file in (("server", "embedding_model"), ("tasks", "model")):
        check_model(filled[at][file], (at, file), filled, found.report)
    judge = filled["profiling"]["judge"]["model"]
    check_model(judge, ("profiling", "judge", "model"), filled, found.report)
    server = filled["server"]
    limits = Limits(**server["limits"])
    scoring = filled["scoring"]
    policy = Policy(
        digest=digest,
        server=Server(**{**_tuples(server), "limits": limits}),
        auth=build_auth(filled, found.report),
        backends=backends,
        models=tuple(_override(item) for item in filled["models"]),
        categories={name: _category(name, item) for name, item in filled["categories"].items()},
        classification=Classification(**filled["classification"]),
        complexity=Complexity(**filled["complexity"]),
        reasoning=Reasoning(**filled["reasoning"]),
        rules=build_rules(filled, found.report),
        tests=read[2],
        scoring=Scoring(
            preset=scoring["preset"],
            discrimination=scoring["discrimination"],
            difficulty=scoring["difficulty"],
            patience_seconds=scoring["patience_seconds"],
            generalist=scoring["generalist"],
            margin=scoring["margin"],
            spread=scoring["spread"],
            assumed=Assumed(**scoring["assumed"]),
        ),
        tasks=Tasks(**filled["tasks"]),
        pins=Globs(filled["pins"]),
        sessions=Sessions(**filled["sessions"]),
        failover=Failover(**filled["failover"]),
        health=HealthLimits(**filled["health"]),
        profiling=_profiling(filled["profiling"]),
        benchmarks=_benchmarks(filled["benchmarks"], found),
        residency=_residency(filled["residency"], found),
        queue=Queue(**filled["queue"]),
        storage=Storage(**filled["storage"]),
        logging=Logging(**filled["logging"]),
        lexicons=read[0],
        figures=read[1],
        model=_model(filled["classification"]),
        validators=Validators(limits),
    )
    return policy, found.problems


def _model(classification: Data) -> CategoryModel | BlendedModel | None:
    if classification["model"] == "none":
        return None
    return blended_model() if classification["semantic"] == "auto" else category_model()


class _Found:
    """Collects problems; `report` is what the builders call."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.problems: list[Problem] = []

    def report(self, path: Path, message: str) -> None:
        self.problems.append(self._source.problem(path, message))

    def is_written(self, path: Path) -> bool:
        """Whether the file itself has this key; otherwise it is a default."""
        return path in self._source.keys


def _tuples(item: Data) -> Data:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in item.items()}


def _category(name: str, item: Data) -> Category:
    return Category(
        name=name,
        lexicon=item["lexicon"],
        boards=tuple((board["board"], board["weight"]) for board in item["boards"]),
        output_tokens=item["output_tokens"],
    )


def _profiling(item: Data) -> Profiling:
    return Profiling(
        **{
            **_tuples(item),
            "live": LiveProfiles(**item["live"]),
            "abilities": Abilities(**item["abilities"]),
            "judge": Judge(**item["judge"]),
        }
    )


def _benchmarks(item: Data, found: _Found) -> Benchmarks:
    providers: dict[str, ProviderSpec] = {}
    for name, given in item["providers"].items():
        place = ("benchmarks", "providers", name)
        _check_url(given["url"], partial(_under, found, place))
        if not given["api_key"].isprintable():
            found.report((*place, "api_key"), "holds a line break or control character")
        providers[name] = ProviderSpec(
            enabled=given["enabled"],
            url=given["url"].rstrip("/"),
            api_key=Secret(given["api_key"].strip()),
        )
    if not item["hf_token"].isprintable():
        found.report(("benchmarks", "hf_token"), "holds a line break or control character")
    token = Secret(item["hf_token"].strip())
    return Benchmarks(**{**_tuples(item), "hf_token": token, "providers": providers})


def _override(item: Data) -> ModelOverride:
    capabilities, price = item["capabilities"], item["price"]
    return ModelOverride(
        match=Globs((item["match"],)),
        enabled=item["enabled"],
        aliases=tuple(item["aliases"]),
        capabilities=None if capabilities is None else frozenset(capabilities),
        context=item["context"],
        size_b=item["size_b"],
        price=None if price is None else (price["input"], price["output"]),
        canonical=item["canonical"],
        quality=tuple((item["quality"] or {}).items()),
        num_ctx=item["num_ctx"],
        keep_alive=item["keep_alive"],
        pinned=item["pinned"],
        vram=_bytes(item["vram_gb"] or 0.0),
    )


def _backends(filled: Data, found: _Found) -> tuple[BackendSpec, ...]:
    specs: list[BackendSpec] = []
    names: set[str] = set()
    wanted = filled["provider"]
    for at, item in enumerate(filled["backends"]):
        report = partial(_under, found, ("backends", at))
        if item["name"] in names:
            report("name", f"another backend is named {item['name']!r}; names must differ")
        names.add(item["name"])
        managed = item["type"] == "managed"
        if managed:
            if not item["models"]:
                report("models", "a managed backend needs at least one model")
            if item["url"]:
                report("url", "a managed backend has no url: the daemon starts its server")
        else:
            if item["models"]:
                report("models", "only a managed backend declares models; use include and exclude")
            if item["start"] != "always":
                report("start", f"only a managed backend can be {item['start']}")
            _check_url(item["url"], report)
        _check_headers(item, report)
        if not managed and wanted != "auto" and item["type"] != _PROVIDERS[wanted]:
            continue
        if managed or item["url"]:
            specs.append(_backend(item, filled))
    return tuple(specs)


def _under(found: _Found, base: Path, key: str, message: str) -> None:
    found.report((*base, key), message)


def _check_url(url: str, report: partial[None]) -> None:
    if not url:
        return
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        (parts.hostname or "").encode("idna")
    except ValueError:  # also of idna: an empty or an overlong part
        valid = False
    if not valid:
        report("url", "must be an http:// or https:// address, such as http://127.0.0.1:11434")
    elif parts.username or parts.password:
        report("url", "must not hold a user or password; use api_key or headers")
    elif parts.query or parts.fragment:
        report("url", "must end with its path: a query or fragment is not allowed")


def _check_headers(item: Data, report: partial[None]) -> None:
    for name, text in item["headers"].items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            report("headers", f"{name!r} is not a valid header name")
        if not text.isprintable():
            report("headers", f"the value of {name!r} holds a line break or control character")
    if not item["api_key"].isprintable():
        report("api_key", "holds a line break or control character")


def _backend(item: Data, filled: Data) -> BackendSpec:
    timeouts = dict(item["timeouts"])
    timeouts["first_token"] = timeouts["first_token"] or filled["server"]["generation_timeout"]
    return BackendSpec(
        name=item["name"],
        type=item["type"],
        url=item["url"].rstrip("/"),
        api_key=Secret(item["api_key"]),
        headers=tuple(sorted((key, Secret(value)) for key, value in item["headers"].items())),
        include=Globs(item["include"]),
        exclude=Globs(item["exclude"]),
        timeouts=Timeouts(**timeouts),
        concurrency=item["concurrency"],
        slots=item["slots"],
        host=item["host"] or _host_of(item["url"]),
        poll_seconds=item["poll_seconds"],
        start=item["start"],
        models=tuple(ManagedModel(**_tuples(model)) for model in item["models"]),
        stream_usage=item["stream_usage"],
        remote=item["remote"] or (item["type"] == "openai" and not _is_local(item["url"])),
        budget=Budget(**item["budget"]),
    )


def _residency(item: Data, found: _Found) -> Residency:
    names = [host["name"] for host in item["hosts"]]
    for at, name in enumerate(names):
        if name in names[:at]:
            message = f"another host is named {name!r}; names must differ"
            found.report(("residency", "hosts", at, "name"), message)
    hosts = tuple(
        HostSpec(name=host["name"], budget=_bytes(host["vram_gb"]), most=host["max_models"] or None)
        for host in item["hosts"]
    )
    apart = tuple(Globs(group) for group in item["apart"])
    return Residency(**{**item, "hosts": hosts, "apart": apart})


def _bytes(gigabytes: float) -> int | None:
    return round(gigabytes * 1e9) or None


def _host_of(url: str) -> str:
    """The machine of a backend."""
    try:
        host = urlsplit(url).hostname or "localhost"
    except ValueError:
        return LOCAL  # reported already
    loopback = host == "localhost" or host.startswith("127.") or host == "::1"
    return LOCAL if loopback else host


def _is_local(url: str) -> bool:
    """Whether an address is on this machine or a private network."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False  # reported already
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or "." not in host or host.endswith((".local", ".lan", ".home"))
    return address.is_private or address.is_loopback


def _check_categories(filled: Data, found: _Found) -> None:
    """Report weights for categories that do not exist. Defaults are let be: they name all the
    packaged categories, of which a policy may have fewer."""
    known = sorted(filled["categories"])
    places: list[tuple[Path, list[str]]] = [
        (("classification", "prior"), known),
        (("complexity", "categories"), known),
    ]
    kinds = [*known, OVERALL]
    kinds += [kind_of(name, form) for name in known for form in FORMS]
    places += [(("models", at, "quality"), kinds) for at in range(len(filled["models"]))]
    for place, allowed in places:
        named: Any = filled
        for part in place:
            named = named[part]
        for name in named or ():
            if name not in allowed and found.is_written((*place, name)):
                plain = ", ".join(other for other in allowed if "/" not in other)
                more = f", each also with one of /{', /'.join(FORMS)}" if allowed is kinds else ""
                message = f"unknown category {name!r}; there are: {plain}{more}"
                found.report((*place, name), message)


def _check_server(server: Data, found: _Found) -> None:
    try:
        render(server["signature"], dict.fromkeys(SIGNATURE_FIELDS, ""))
    except ValueError as error:
        found.report(("server", "signature"), str(error))
    for at, text in enumerate(server["trusted_proxies"]):
        try:
            ipaddress.ip_network(text, strict=False)
        except ValueError:
            message = f"{text!r} is neither an address nor a network such as 172.16.0.0/12"
            found.report(("server", "trusted_proxies", at), message)
