"""From what a backend says of a model to the name its publisher gives it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmrouterd.naming.families import SAME_PUBLISHER
from llmrouterd.naming.key import family_of, parse_name
from llmrouterd.naming.tables import short_digest
from llmrouterd.naming.words import cut_quant, take_apart

if TYPE_CHECKING:
    from llmrouterd.naming.key import ModelKey
    from llmrouterd.naming.records import Identity
    from llmrouterd.naming.tables import NameTables

_HUB = ("https://huggingface.co/", "http://huggingface.co/", "huggingface.co/", "hf.co/")
_MODELSCOPE = "https://modelscope.cn/models/"
_NO_NAME = frozenset("model models ggml default main weights checkpoint latest llm gguf".split())
# Words of a name that say that the weights were changed.
_TUNED = frozenset(
    "finetune finetuned fine tune tuned lora qlora adapter merge merged slerp abliterated "
    "uncensored sft dpo simpo orpo kto grpo rlhf ablated heretic lorablated distill "
    "distilled pruned".split()
)
# Libraries whose tags do not say the quantisation, because there is only one.
_SHIPPED = {"gpt-oss": "MXFP4", "gpt-oss-safeguard": "MXFP4"}
_API = frozenset({"openai", "api", "openai_compatible"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """name: what the publisher calls it. context: how to parse it, see `parse_name`. method and
    grade: how it was found, see `records.GRADES`. quant: of the local weights."""

    name: str
    context: str
    method: str
    grade: str
    quant: str = ""


def name_upstream(identity: Identity, tables: NameTables) -> Named:
    """The first of: the owner's word, the digest, the base model, a curated fact, the name."""
    quant = take_apart(identity.name).quant or (identity.quantization or "").upper()
    if identity.canonical:
        known = _alias(identity.canonical, "any", tables) or identity.canonical
        return Named(name=known, context="", method="override", grade="exact", quant=quant)
    by_digest = _by_digest(identity, tables)
    if by_digest is not None:
        return by_digest
    by_name = _by_name(identity, tables, quant)
    by_base = _by_base(identity, by_name, quant, tables)
    return by_base or by_name


def _by_digest(identity: Identity, tables: NameTables) -> Named | None:
    found = tables.digests.get(short_digest(identity.digest)) if identity.digest else None
    if found is None:
        return None
    library, full = found
    bare, quant = cut_quant(full)
    upstream = tables.upstream_tag(library, bare or "latest")
    quant = quant or _SHIPPED.get(library, "")
    if upstream is None:
        return Named(
            name=f"{library}:{bare}", context="ollama", method="digest", grade="alias", quant=quant
        )
    return Named(name=upstream, context="", method="digest", grade="alias", quant=quant)


def _by_name(identity: Identity, tables: NameTables, quant: str) -> Named:
    name = identity.name.strip()
    if identity.backend == "ollama":
        return _by_tag(name, tables, quant)
    parts = take_apart(name)
    scopes = ("api", "any") if identity.backend in _API else ("any",)
    plain = name.lower().rpartition("/")[2]
    for scope in scopes:
        spellings = [name, f"{parts.publisher}/{parts.stem}", plain, parts.stem]
        if scope == "any" and identity.backend not in _API and parts.stem == plain:
            spellings = spellings[:3]
        for spelling in spellings:
            upstream = _alias(spelling, scope, tables)
            if upstream is not None and _may_publish(parts.publisher, upstream):
                context = "openai" if scope == "api" else ""
                return Named(
                    name=upstream, context=context, method="alias", grade="alias", quant=quant
                )
    return Named(name=name, context=identity.backend, method="name", grade="canonical", quant=quant)


def _by_tag(name: str, tables: NameTables, quant: str) -> Named:
    """An Ollama name without a known digest: what its tag meant when the tags were listed."""
    library, _, tag = name.removeprefix("registry.ollama.ai/").partition(":")
    library = library.removeprefix("library/").lower()
    tag = tag or "latest"
    full = tables.tags.get((library, tag)) or tables.tags.get((library, tag.lower())) or tag
    bare, full_quant = cut_quant(full)
    upstream = tables.upstream_tag(library, bare.lower() or "latest")
    shown = full_quant or quant or _SHIPPED.get(library, "")
    if upstream is None:
        named = f"{library}:{bare}" if library in tables.libraries else name
        return Named(name=named, context="ollama", method="name", grade="canonical", quant=shown)
    return Named(name=upstream, context="", method="name", grade="canonical", quant=shown)


def _alias(name: str, scope: str, tables: NameTables) -> str | None:
    return tables.names.get(scope, {}).get(name.lower())


def _may_publish(publisher: str, upstream: str) -> bool:
    """A known name under somebody's own account is another model, unless it is the maker's."""
    if not publisher:
        return True
    family = family_of(parse_name(upstream))
    return family is None or official(publisher, parse_name(upstream)) or "/" not in upstream


def official(publisher: str, key: ModelKey) -> bool:
    """Whether an account is the family's own."""
    family = family_of(key)
    if family is None:
        return False
    return publisher in family.publishers or same_publisher(publisher) in family.publishers


def same_publisher(publisher: str) -> str:
    """One spelling for accounts that were renamed."""
    return SAME_PUBLISHER.get(publisher, publisher)


def _by_base(identity: Identity, by_name: Named, quant: str, tables: NameTables) -> Named | None:
    """The base model, where the name does not say more, or does not say that it was changed."""
    if not identity.base_model:
        return None
    base = identity.base_model.strip()
    for prefix in (*_HUB, _MODELSCOPE):
        base = base.removeprefix(prefix)
    base = base.strip("/")
    base = _alias(base, "any", tables) or base
    mine = parse_name(by_name.name, by_name.context)
    if family_of(mine) is None:
        words = set(take_apart(identity.name).words)
        if words & _TUNED:
            return None
        grade = "canonical" if words <= _NO_NAME and words else "revision"
        return Named(name=base, context="", method="base_model", grade=grade, quant=quant)
    theirs = parse_name(base)
    agree = mine.family == theirs.family and mine.version in {"", theirs.version}
    more = set(mine.extra) <= set(theirs.extra) and mine.date in {"", theirs.date}
    if agree and more and mine.variants == theirs.variants:
        return Named(name=base, context="", method="base_model", grade="exact", quant=quant)
    return None
