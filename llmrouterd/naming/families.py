"""The product lines: how each is recognised, who publishes it, what its names leave out. Pure.

Order matters: the first family whose words all stand in a name is the name's family.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """label: the line's name. words: all must be in the name. kind: the variants of a name that
    says nothing ("base" is instruct on boards of chat models and in chat servers). implied:
    variants all its models have. version: of a name without one. publishers: official, lower case.
    points: keep `.0` in versions. parts: words that belong to the version."""

    label: str
    words: tuple[str, ...]
    kind: frozenset[str]
    implied: frozenset[str]
    version: str = ""
    publishers: frozenset[str] = frozenset()
    points: bool = False
    parts: frozenset[str] = frozenset()


# label | words | kind | implied | version | publishers | options
# kind: b base, i instruct, h hybrid, t thinking, e embed, r rerank, g guard, v vision, - nothing.
_TABLE = """
deepseek-r1-distill|deepseek r1 distill|-|||deepseek-ai deepseek
deepseek-r1-distill|deepseek r1 qwen|-|||deepseek-ai deepseek
deepseek-r1-distill|deepseek r1 llama|-|||deepseek-ai deepseek
r1-1776|r1 1776|t
deepseek-r1|deepseek r1|t|||deepseek-ai deepseek
deepseek-coder|deepseek coder|b|coder|1|deepseek-ai deepseek
deepseek-llm|deepseek llm|b|||deepseek-ai deepseek
deepseek-moe|deepseek moe|b|||deepseek-ai
deepseek-math|deepseek math|b|math||deepseek-ai
deepseek-ocr|deepseek ocr|v|vision||deepseek-ai
deepseek-vl|deepseek vl|v|vision||deepseek-ai
deepseek-prover|deepseek prover|i|math||deepseek-ai
deepseek-v|deepseek|i|||deepseek-ai deepseek
llama-minitron|llama minitron|b|||nvidia
mistral-minitron|mistral minitron|b|||nvidia
mistral-minitron|nemo minitron|b|||nvidia
minitron|minitron|b|||nvidia
llama-nemotron|llama nemotron|h|||nvidia
nemotron-nano|nemotron nano|h|||nvidia
nemotron-super|nemotron super|h|||nvidia
nemotron-ultra|nemotron ultra|h|||nvidia
nemotron-mini|nemotron mini|i|||nvidia
nemotron-cascade|nemotron cascade|h|||nvidia
nemotron|nemotron|b|||nvidia
openhermes|openhermes|i||1|teknium
deephermes|deephermes|h|||nousresearch
nous-hermes|nous hermes|i||1|nousresearch
nous-capybara|nous capybara|i|||nousresearch
hermes|hermes|i|||nousresearch|
tulu|tulu|i|||allenai
megadolphin|megadolphin|i|||cognitivecomputations ehartford
tinydolphin|tinydolphin|i|||cognitivecomputations ehartford
dolphincoder|dolphincoder|i|coder||cognitivecomputations ehartford
dolphin|dolphin|i|||cognitivecomputations ehartford dphn|points
samantha|samantha|i|||cognitivecomputations ehartford
openchat|openchat|i|||openchat
starling-lm|starling|i|||berkeley-nest nexusflow|parts=alpha,beta
zephyr-orpo|zephyr orpo|i|||huggingfaceh4
stablelm-zephyr|stablelm zephyr|i|||stabilityai
zephyr|zephyr|i|||huggingfaceh4|parts=alpha,beta
neural-chat|neural chat|i|||intel
notus|notus|i|||argilla
notux|notux|i|||argilla
mistral-openorca|openorca|i|||open-orca
open-orca-platypus|orca platypus|i|||open-orca
orca-mini|orca mini|i||1|pankajmathur psmathur
orca|orca|i|||microsoft
stable-beluga|stablebeluga|i|||stabilityai
stable-beluga|stable beluga|i|||stabilityai
stable-code|stable code|b|coder||stabilityai
stablelm-tuned|stablelm tuned|i|||stabilityai
stablelm|stablelm|b|||stabilityai
wizard-vicuna|wizard vicuna|i|
wizardlm|wizardlm|i|||wizardlmteam wizardlm microsoft
wizardmath|wizardmath|i|math||wizardlmteam wizardlm
wizard-math|wizard math|i|math||wizardlmteam wizardlm
wizardcoder|wizardcoder|i|coder||wizardlmteam wizardlm
vicuna|vicuna|i|||lmsys
athene|athene|i|||nexusflow
nexusraven|nexusraven|i|||nexusflow
reflection|reflection|i|||mattshumer
solar-pro|solar pro|i|||upstage
solar-mini|solar mini|i|||upstage
solar|solar|b|||upstage|points
yarn|yarn|b|||nousresearch
llama-pro|llama pro|b|||tencentarc
llama-guard|guard llama|g|guard||meta-llama
codellama|codellama|b|coder||codellama meta-llama
codellama|code llama|b|coder||codellama meta-llama
llama2-uncensored|llama uncensored|i|
llama2-chinese|llama chinese|i|||flagalpha
llama3-gradient|gradient llama|i|||gradientai
llama3-chatqa|chatqa|i|||nvidia
llama3-groq-tool-use|groq tool use|i|||groq
open-llama|open llama|b|||openlm-research
tinyllama|tinyllama|b|||tinyllama|points
medllama|medllama|i|
llava-llama3|llava llama|v|vision
llava-phi3|llava phi|v|vision
bakllava|bakllava|v|vision
llava|llava|v|vision
moondream|moondream|v|vision||vikhyatk
minicpm-v|minicpm v|v|vision||openbmb
minicpm|minicpm|i|||openbmb
llama|llama|b|||meta-llama meta
qwq|qwq|t|||qwen|parts=preview
qvq|qvq|t|vision||qwen
codeqwen|codeqwen|b|coder|1.5|qwen
marco-o1|marco o1|t|||aidc-ai
qwen|qwen|b|||qwen|parts=next,max,plus,turbo,flash,moe
codegemma|codegemma|b|coder|1|google
recurrentgemma|recurrentgemma|b|||google
translategemma|translategemma|i|||google
medgemma|medgemma|i|||google
shieldgemma|shieldgemma|g|guard||google
functiongemma|functiongemma|i|||google
embeddinggemma|embeddinggemma|e|embed||google
datagemma|datagemma|i|||google
paligemma|paligemma|v|vision||google
gemma-n|gemma 3n|b||3|google
gemma|gemma|b||1|google
phi-mini|phi mini|i|||microsoft
phi-moe|phi moe|i|||microsoft
phi-small|phi small|i|||microsoft
phi-medium|phi medium|i|||microsoft
phi-vision|phi vision|v|vision||microsoft
phi|phi|i|||microsoft
codestral-mamba|codestral mamba|i|coder||mistralai
codestral|codestral|i|coder||mistralai
mathstral|mathstral|i|math|0.1|mistralai
devstral|devstral small|i|coder||mistralai
devstral-medium|devstral medium|i|coder||mistralai
devstral|devstral|i|coder||mistralai
magistral-medium|magistral medium|t|||mistralai
magistral|magistral|t|||mistralai
pixtral|pixtral|i|vision||mistralai
ministral|ministral|b|||mistralai
mixtral|mixtral|b||0.1|mistralai mistral-community
mistrallite|mistrallite|i|||amazon
mistral-nemo|nemo|b|||mistralai
mistral-small|mistral small|b|||mistralai
mistral-medium|mistral medium|i|||mistralai
mistral-large|mistral large|b|||mistralai
mistral|mistral|b|||mistralai mistral-community
smollm|smollm|b|||huggingfacetb
smolvlm|smolvlm|v|vision||huggingfacetb
granite-code|granite code|b|coder||ibm-granite ibm
granite-guardian|granite guardian|g|guard||ibm-granite ibm
granite-embedding|granite embedding|e|embed||ibm-granite ibm
granite|granite|b|||ibm-granite ibm|points
command-r7b-arabic|command r7b arabic|i|||coherelabs cohere
command-r7b|command r7b|i|||coherelabs cohere
command-r-plus|command r plus|i|||coherelabs cohere
command-r-plus|command r+|i|||coherelabs cohere
command-r|command r|i|||coherelabs cohere
command-a|command a|i|||coherelabs cohere
aya-expanse|aya expanse|i|||coherelabs cohere
aya-vision|aya vision|v|vision||coherelabs cohere
aya|aya|i|||coherelabs cohere
olmoe|olmoe|b|||allenai
olmo|olmo|b|||allenai
molmo|molmo|v|vision||allenai
falcon-mamba|falcon mamba|b|||tiiuae
falcon-h|falcon h1|b|||tiiuae
falcon|falcon|b||1|tiiuae
yi-coder|yi coder|b|coder||01-ai
yi-vl|yi vl|v|vision||01-ai
yi|yi|b||1|01-ai
internlm-math|internlm math|i|math||internlm
internlm|internlm|b|||internlm
exaone-deep|exaone deep|t|||lgai-exaone
exaone|exaone|i|||lgai-exaone
codegeex|codegeex|i|coder||zai-org
chatglm|chatglm|i||1|zai-org
glm-ocr|glm ocr|v|vision||zai-org
glm|glm|b|||zai-org z-ai|parts=flash,air,plus,long,x,z1
gpt-oss-safeguard|gpt oss safeguard|g|guard||openai
gpt-oss|gpt oss|t|||openai
gpt-j|gpt j|b|||eleutherai
gpt-neox|gpt neox|b|||eleutherai
gpt-neo|gpt neo|b|||eleutherai
lfm-vl|lfm vl|v|vision||liquidai
starcoder|starcoder|b|coder|1|bigcode
starchat|starchat|i|coder||huggingfaceh4
opencoder|opencoder|b|coder||infly
dbrx|dbrx|b|||databricks
dolly|dolly|i|||databricks
mpt|mpt|b|||mosaicml
jamba|jamba|i|||ai21labs ai21
bielik|bielik|b|||speakleash
openthinker|openthinker|t|||open-thoughts
smallthinker|smallthinker|t|||powerinfer
sailor|sailor|b|||sail
minimax-m|minimax m|t|||minimaxai minimax
minimax-m|minimax|t|||minimaxai minimax
kimi-k|kimi|i|||moonshotai
lfm|lfm|i|||liquidai
nomic-embed|nomic embed text|e|embed||nomic-ai
nomic-embed|nomic embed|e|embed||nomic-ai
mxbai-embed|mxbai embed|e|embed||mixedbread-ai
snowflake-arctic-embed|arctic embed|e|embed||snowflake
bge|bge|e|embed||baai
all-minilm|minilm|e|embed||sentence-transformers
jina-embeddings|jina|e|embed||jinaai
gte|gte|e|embed|
e5|e5|e|embed||intfloat
claude-opus|claude opus|i|||anthropic
claude-sonnet|claude sonnet|i|||anthropic
claude-haiku|claude haiku|i|||anthropic
gemini-flash-lite|gemini flash lite|i|||google
gemini-flash|gemini flash|i|||google
gemini-pro|gemini pro|i|||google
chatgpt-4o|chatgpt 4o|i|||openai
gpt-4o-mini|gpt 4o mini|i|||openai
gpt-4o|gpt 4o|i|||openai
gpt4all|gpt 4 all|i|||nomic-ai
gpt|gpt|i|||openai openai-community
o1|o1|t|||openai
o3|o3|t|||openai
o4|o4|t|||openai
guanaco|guanaco|i|||timdettmers
fastchat-t5|fastchat t5|i|||lmsys
grok|grok|i|||x-ai xai
claude|claude|i|||anthropic
gemini|gemini|i|||google
nova-pro|nova pro|i|||amazon
nova-lite|nova lite|i|||amazon
nova-micro|nova micro|i|||amazon
intellect|intellect|b|||primeintellect prime-intellect
hunyuan|hunyuan|i|||tencent
ernie|ernie|i|||baidu
mimo|mimo|h|||xiaomimimo xiaomi
longcat|longcat|i|||meituan-longcat meituan
ling|ling|i|||inclusionai
ring|ring|t|||inclusionai
trinity|trinity|i|||arcee-ai
step|step|i|||stepfun-ai stepfun
reka|reka|i|||rekaai
mercury|mercury|i|||inception
snowflake-arctic|snowflake arctic|i|||snowflake
rwkv|rwkv|i|||blinkdl
aceinstruct|aceinstruct|i|||nvidia
acemath|acemath|i|math||nvidia
hymba|hymba|b|||nvidia
pythia|pythia|b|||eleutherai
bloom|bloom|b|||bigscience
redpajama|redpajama|b|||togethercomputer
smaug|smaug|i|||abacusai
stripedhyena|stripedhyena|i|||togethercomputer
"""

_KINDS = {
    "b": "base",
    "i": "instruct",
    "h": "hybrid",
    "t": "thinking",
    "e": "embed",
    "r": "rerank",
    "g": "guard",
    "v": "vision",
    "-": "",
}


def _read(table: str) -> tuple[Family, ...]:
    families = []
    for line in table.strip().splitlines():
        label, words, kind, implied, version, publishers, options = (line.split("|") + [""] * 6)[:7]
        parts = options.partition("parts=")[2]
        families.append(
            Family(
                label=label,
                words=tuple(words.split()),
                kind=frozenset({_KINDS[kind]} - {""}),
                implied=frozenset(implied.split()),
                version=version,
                publishers=frozenset(publishers.split()),
                points="points" in options,
                parts=frozenset(parts.split(",")) - {""},
            )
        )
    return tuple(families)


FAMILIES = _read(_TABLE)
BY_FIRST_WORD = {
    family.words[0]: tuple(
        (rank, one) for rank, one in enumerate(FAMILIES) if one.words[0] == family.words[0]
    )
    for family in FAMILIES
}
BY_LABEL = {family.label: family for family in reversed(FAMILIES)}

# A publisher under its later or other names: the same people, the same repositories.
SAME_PUBLISHER = {
    "cohereforai": "coherelabs",
    "thudm": "zai-org",
    "meta": "meta-llama",
    "meta llama": "meta-llama",
    "mistral": "mistralai",
    "alibaba": "qwen",
    "deepseek": "deepseek-ai",
    "wizardlm": "wizardlmteam",
    "psmathur": "pankajmathur",
    "ehartford": "cognitivecomputations",
    "dphn": "cognitivecomputations",
    "google-deepmind": "google",
    "ibm": "ibm-granite",
    "xai": "x-ai",
    "moonshot": "moonshotai",
    "cohere": "coherelabs",
    "ai21": "ai21labs",
    "minimax": "minimaxai",
    "z-ai": "zai-org",
    "upstage-ai": "upstage",
    "liquid": "liquidai",
}

# They re-upload the official weights, unchanged, under the official name.
MIRRORS = frozenset(
    "mlx-community unsloth mistral-community nousresearch alpindale dreamgen huggyllama".split()
)

PUBLISHERS = frozenset(SAME_PUBLISHER) | {
    publisher for family in FAMILIES for publisher in family.publishers
}
PUBLISHERS |= frozenset("princeton-nlp sao10k huihui-ai mlabonne failspy vagosolutions".split())
