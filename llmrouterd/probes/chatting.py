"""Chat: following instructions about the reply, and remembering what was said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmrouterd.probes.checks import ChoiceCheck, Draft, Rule, RuleCheck
from llmrouterd.probes.wordlists import COLOURS, GOODS, PEOPLE, PLACES, THINGS

if TYPE_CHECKING:
    from llmrouterd.probes.seed import Source


def exact_reply(source: Source, level: int) -> Draft:
    """Reply with exactly this, or with this changed in a stated way."""
    words = source.sample([*GOODS, *COLOURS, *THINGS], 2 + level)
    given = " ".join(words)
    if level == 1:
        ask, wanted = "Reply with exactly these words and nothing else", given
    elif level == 2:
        ask, wanted = (
            "Reply with exactly these words in capital letters and nothing else",
            given.upper(),
        )
    elif level == 3:
        ask, wanted = (
            "Reply with exactly these words in reverse order and nothing else",
            " ".join(words[::-1]),
        )
    elif level == 4:
        ask = (
            "Reply with exactly these words, sorted alphabetically, joined by hyphens, and "
            "nothing else"
        )
        wanted = "-".join(sorted(words))
    else:
        ask = (
            "Reply with exactly these words, each on a line of its own, in reverse order, "
            "every second "
            "line in capital letters (the second, the fourth, ...), and nothing else"
        )
        lines = [w.upper() if n % 2 else w for n, w in enumerate(words[::-1])]
        wanted = "\n".join(lines)
    return Draft(
        prompt=f"{ask}: {given}",
        check=RuleCheck(rules=(Rule(kind="exact", words=(wanted,)),)),
        reference=wanted,
        max_tokens=120,
        hidden=False,
    )


_TOPICS = (
    ("rivers", "river water flows"),
    ("bread", "flour water oven"),
    ("bicycles", "wheels chain ride"),
    ("libraries", "books read shelves"),
    ("gardens", "plants soil flowers"),
    ("winter", "snow cold ice"),
)
_IN_LANGUAGE = {
    "de": ("German", "Das ist ein Text über die Sache, und es ist nicht zu lang für uns."),
    "fr": ("French", "Il est dans la maison avec le pain et les fleurs du jardin."),
    "es": ("Spanish", "El agua es muy buena para las plantas y los animales del campo."),
    "it": ("Italian", "Il pane è molto buono e si trova nel forno della casa."),
}


def reply_format(source: Source, level: int) -> Draft:
    """Rules for the form of a reply: length, words, bullets, first and last words."""
    topic, words = source.choice(_TOPICS)
    keep = tuple(words.split())
    first, last = source.sample(GOODS, 2)
    if level == 1:
        word, most = source.choice(keep), source.between(15, 30)
        asked = [f"Use at most {most} words and use the word {word}"]
        rules = [Rule(kind="max_words", number=most), Rule(kind="min_words", number=4)]
        rules.append(Rule(kind="keep", words=(word,)))
        rules.append(Rule(kind="shun", words=("rules", "at most", "the word")))
        reference = f"Everybody knows that {word} matters."
    elif level == 2:
        count = source.between(3, 6)
        asked = [f"Write exactly {count} bullet points, each on its own line beginning with '- '"]
        rules = [Rule(kind="bullets", number=count), Rule(kind="lines", number=count)]
        reference = "\n".join(f"- point {n}" for n in range(count))
    elif level == 3:
        code = source.choice(sorted(_IN_LANGUAGE))
        name, reference = _IN_LANGUAGE[code]
        count = source.between(18, 30)
        asked = [f"Write in {name}, in whole sentences, at most {count} words"]
        rules = [Rule(kind="language", words=(code,)), Rule(kind="max_words", number=count)]
    elif level == 4:
        count = source.between(2, 4)
        asked = [f"Write exactly {count} sentences", f"begin with the word {first}"]
        asked += [f"end with the word {last}", f"use the words {', '.join(keep)}"]
        rules = [Rule(kind="sentences", number=count), Rule(kind="starts", words=(first,))]
        rules += [Rule(kind="ends", words=(last,)), Rule(kind="keep", words=keep)]
        middle = [f"Then {' and '.join(keep)}."] + ["More."] * (count - 2)
        reference = " ".join(
            [f"{first.capitalize()} alone."] * 0 + [f"{first.capitalize()} first."]
        )
        body = middle[: count - 1]
        body[-1] = body[-1][:-1] + f" with {last}."
        reference = " ".join([reference, *body])
    else:
        letter = source.choice("bckmuw")
        asked = ["Write exactly 2 sentences", "all in lower case", f"never use the letter {letter}"]
        asked += ["use at least 12 and at most 24 words"]
        rules = [Rule(kind="sentences", number=2), Rule(kind="lower")]
        rules += [Rule(kind="no_letter", words=(letter,)), Rule(kind="min_words", number=12)]
        rules += [Rule(kind="max_words", number=24)]
        reference = "the sea is far and the red hills are near it. then a gentle light is there."
    prompt = f"Write about {topic}. Rules: {'; '.join(asked)}. Reply with the text only."
    check = RuleCheck(rules=tuple(rules))
    return Draft(prompt=prompt, check=check, reference=reference, max_tokens=250, hidden=False)


_ASKS = {
    "town": ("My home town is {}.", "What is my home town?", PLACES),
    "friend": ("My best friend is called {}.", "What is my best friend called?", PEOPLE),
    "gift": (
        "I want to buy a {} as a present.",
        "What do I want to buy as a present?",
        tuple(GOODS),
    ),
    "colour": ("My favourite colour is {}.", "What is my favourite colour?", tuple(COLOURS)),
}


def dialogue(source: Source, level: int) -> Draft:
    """A conversation with facts, some of them corrected; one is asked for at the end."""
    topics = source.sample(sorted(_ASKS), min(4, 1 + level // 2 + 1))
    asked = topics[0]
    turns: list[dict[str, Any]] = []
    values: dict[str, list[str]] = {topic: source.sample(_ASKS[topic][2], 3) for topic in topics}

    def say(text: str, reply: str) -> None:
        turns.append({"role": "user", "content": text})
        turns.append({"role": "assistant", "content": reply})

    for topic in source.shuffle(topics):
        say(_ASKS[topic][0].format(values[topic][0]), "Thank you, noted.")
    wanted = values[asked][0]
    if level >= 3:
        say(
            f"Sorry, that was wrong: {_ASKS[asked][0].format(values[asked][1])}",
            "I have changed it.",
        )
        wanted = values[asked][1]
    if level >= 4:
        other = topics[1]
        say(
            f"By the way, this has changed: {_ASKS[other][0].format(values[other][1])}",
            "All right.",
        )
    if level == 5:
        third = values[asked][2]
        say(
            f"For a moment I thought: {_ASKS[asked][0].format(third)} But forget that, what I "
            "said before stays.",
            "Understood.",
        )
    question = f"{_ASKS[asked][1]} Reply with one word."
    turns.append({"role": "user", "content": question})
    others = tuple({v for found in values.values() for v in found if v != wanted})
    return Draft(
        prompt=tuple(turns),
        check=ChoiceCheck(accepted=(wanted,), others=tuple(sorted(others))),
        reference=wanted,
        guess=0.1,
        max_tokens=100,
        hidden=False,
    )
