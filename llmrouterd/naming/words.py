"""A model's name taken apart: publisher, words and quantisation, before any meaning. Pure.

Names come from anywhere, so everything here takes any text, in time linear in its length.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from llmrouterd.naming.families import PUBLISHERS

_MOST_CHARACTERS = 300

_QUANT = re.compile(
    r"(?ai)(?:^|[-_.: ])((?:ud[-_])?(?:i?q[1-8]_(?:k_(?:xxl|xl|s|m|l|p)|k|0|1|xxs|xs|s|m|nl)"
    r"(?:_(?:4_4|4_8|8_8|l|xl|r4|r8))?|iq[1-4]_(?:xxs|xs|nl|s|m)|tq[12]_0|q[2-8](?:f16)?|mxfp[468](?:_moe)?|nvfp4"
    r"|[if](?:p)?(?:8|16|32)|bf16|float(?:16|32)|[2-8]bit|int[48]|w[48]a(?:16|8)|dwq|4bit-dwq))"
    r"(?:$|[-_.: ])"
)
_FORMAT = re.compile(
    r"(?ai)(?:^|[-_.: ])(gguf|ggmlv?[0-9]*|gptq|awq|exl[23]|mlx|bnb|imatrix|imat|i1|hf|safetensors"
    r"|quantized|quant|static|lmstudio|dflash|mtp|qat|autoround|dynamic|fp8-dynamic|cloud|latest)"
    r"(?:$|[-_.: ])"
)
_SHARD = re.compile(r"(?ai)[-_.]\d{5}-of-\d{5}$")
_FILE = re.compile(r"(?ai)\.(?:gguf|ggml|bin|safetensors|llamafile)$")
_AFTER_COLON = re.compile(r"(?ai):(?:free|nitro|floor|extended|online|exacto|\d+)$")
_BEDROCK_REGION = re.compile(r"(?a)^(?:us|eu|apac|global)\.([a-z0-9]+\.)")
_BEDROCK = re.compile(
    r"(?a)^(anthropic|meta|mistral|amazon|cohere|ai21|deepseek|openai|qwen|google|nvidia|minimax|moonshot)"
    r"\.([a-z0-9].*)$"
)
_BEDROCK_VERSION = re.compile(r"(?a)-v[12](?::\d+)?$|:\d+$")
_P_VERSION = re.compile(r"(?a)(^|[^a-z0-9])v(\d)p(\d)([^a-z0-9]|$)")
_FIREWORKS = re.compile(r"(?a)(\d)p(\d)")
_GAP = re.compile(r"(?a)[^a-z0-9.+]+")
_DIGIT_UNDERSCORE = re.compile(r"(?a)(^|[^\d._])(v?\d)_(\d{1,2})($|[^\da-z])")
_SIZE_UNDERSCORE = re.compile(r"(?a)(^|[^\d.])([01])_(\d[bm])")
_GLUED = re.compile(r"(?a)^([a-z]{2,})(\d+(?:\.\d+)*)([a-z]*)$")
_GLUED_SIZE = re.compile(r"(?a)^([a-z]{3,})(\d+x\d+(?:\.\d+)?[bm]|\d+(?:\.\d+)?[bm])$")
_V_GLUED = re.compile(r"(?a)^(\d+(?:\.\d+)*)(vl|v|n|it)$")
_TWICE = 2
_LEAST_LETTERS = 2
_NOT_MODELS = ("mmproj", "mm-proj", "clip-vit", "imatrix.dat", "tokenizer")

# A prefix that says who serves or repacked the weights, not who made them.
CARRIERS = frozenset(
    """
    accounts fireworks models openrouter groq together together_ai togethercomputer_api
    deepinfra novita anyscale nim nvidia_nim bedrock azure azure_ai vertex_ai vertex replicate
    cf @cf @hf hf.co huggingface.co huggingface ollama ollama_chat library registry.ollama.ai
    litellm lm_studio lmstudio cerebras sambanova hyperbolic perplexity github fireworks_ai
    cohere_chat text-completion vllm openai_compatible workers-ai baseten parasail lambda nebius
    featherless cloudflare local thebloke bartowski lmstudio-community lmstudio-ai unsloth
    mradermacher quantfactory maziyarpanahi mlx-community ggml-org ggerganov second-state
    gaianet tensorblock devquasar-gguf duyntnet legraphista rebornai ikawrakow ubergarm
    bullerwins turboderp casperhansen neuralmagic redhatai hugging-quants nousresearch_gguf
    qwp4w3hyb dranger003 crusoeai mozilla featherless-ai-quants prunaai solidrust afrideva
    richarderkhov tobil reach-vb jartine stelterlab cortecs technobyte bartowski1182 noctrex
    intel-gguf nmimo mungert gabriellarson eaddario
    """.split()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """publisher: who the name says made it, lower case, "" when it does not say. stem: the rest,
    as written. words: its parts, lower case. quant: upper case, "" when not said. carried: a
    known repacker or provider stood before it. is_model: false for projectors and the like."""

    publisher: str
    stem: str
    words: tuple[str, ...]
    quant: str
    carried: bool = False
    is_model: bool = True


@lru_cache(maxsize=16384)
def take_apart(name: str) -> Parts:
    """A name's parts. Ollama's `model:tag` comes as one stem, `model-tag`."""
    text = unicodedata.normalize("NFKC", name[:_MOST_CHARACTERS]).strip()
    text = text.replace("\\", "/").removeprefix("https://").removeprefix("http://")
    text = _P_VERSION.sub(r"\1\2.\3\4", text)
    low = text.lower()
    if "fireworks/" in low:
        text = _FIREWORKS.sub(r"\1.\2", text)
    is_model = not any(mark in low for mark in _NOT_MODELS)
    text = _AFTER_COLON.sub("", _SHARD.sub("", _FILE.sub("", text)))
    path, dotted = _bedrock(text)
    publisher, stem, carried = _publisher(path)
    bare, quant = cut_quant(stem)
    if dotted:
        bare = _BEDROCK_VERSION.sub("", bare)
    return Parts(
        publisher=publisher,
        stem=bare,
        words=_words(bare),
        quant=quant,
        carried=carried or dotted,
        is_model=is_model,
    )


def cut_quant(stem: str) -> tuple[str, str]:
    """The stem without formats and quantisation, and the quantisation in upper case."""
    quant = ""
    text = stem
    for _ in range(_TWICE + 1):
        found = _QUANT.search(text)
        if found is None:
            break
        quant = quant or found[1]
        text = f"{text[: found.start(1)]}{text[found.end(1) :]}".strip("-_.: ")
    for _ in range(_TWICE + 1):
        found = _FORMAT.search(text)
        if found is None:
            break
        if found[1].lower() == "qat":
            quant = quant or "Q4_0"
        text = f"{text[: found.start(1)]}{text[found.end(1) :]}".strip("-_.: ")
    text = _SHARD.sub("", _FILE.sub("", text))
    return text, _shown_quant(quant)


def _shown_quant(quant: str) -> str:
    shown = quant.upper().removeprefix("UD-").removeprefix("UD_")
    return {"FP16": "F16", "FLOAT16": "F16", "FP32": "F32", "FLOAT32": "F32"}.get(shown, shown)


def _bedrock(text: str) -> tuple[str, bool]:
    """Bedrock writes `us.meta.llama3-1-8b-instruct-v1:0`."""
    low = _BEDROCK_REGION.sub(r"\1", text)
    found = _BEDROCK.match(low)
    if found is None or "/" in text:
        return text, False
    return f"{found[1]}/{found[2]}", True


def _publisher(path: str) -> tuple[str, str, bool]:
    parts = [part for part in path.split("/") if part]
    if not parts:
        return "", "", False
    stem = parts.pop()
    carried = any(part.lower().lstrip("~") in CARRIERS for part in parts)
    makers = [part for part in parts if part.lower().lstrip("~") not in CARRIERS]
    if path.startswith(("/", "./", "../", "~")) or len(makers) > _TWICE or _FILE.search(path):
        makers = []
    maker = makers[-1].lower().lstrip("~@") if makers else ""
    first, _, rest = stem.partition("_")  # `Qwen_Qwen3-32B-Q4_K_M.gguf`
    if not maker and first.lower() in PUBLISHERS and rest[:_LEAST_LETTERS].isalpha():
        maker, stem = first.lower(), rest
    if maker and stem.lower().endswith(("-gguf", "-awq", "-gptq", "_gguf")):
        carried = True
    return maker, stem, carried


def _words(stem: str) -> tuple[str, ...]:
    low = stem.lower().replace("(", " ").replace(")", " ")
    low = _SIZE_UNDERSCORE.sub(r"\1\2.\3", _DIGIT_UNDERSCORE.sub(r"\1\2.\3\4", low))
    words: list[str] = []
    for raw in _GAP.split(low):
        word = raw.strip(".")
        if word:
            words.extend(_unglue(word))
    return tuple(words)


def _unglue(word: str) -> list[str]:
    """`llama3.1` is `llama 3.1`, `qwen2.5vl` is `qwen 2.5 vl`; `r7b`, `e4b`, `a3b`, `v0.3` stay."""
    if "." in word and not any(character.isdigit() for character in word):
        return [part for part in word.split(".") if part]
    size = _GLUED_SIZE.match(word)
    if size is not None:
        return [size[1], size[2]]
    found = _GLUED.match(word)
    if found is None:
        end = _V_GLUED.match(word)
        return [word] if end is None or end[2] == "n" else [end[1], end[2]]
    rest = [found[1], found[2]]
    if found[3] == "n":
        return [found[1], f"{found[2]}n"]
    return [*rest, found[3]] if found[3] else rest
