"""The category of what the human says now: trained classifier and lexicons, turn by turn.

Both speak in logits. A category's logit is the logarithm of the probability that the trained
classifier gives it, plus the weighted evidence of its lexicon, plus the logarithm of its prior;
all are divided by the temperature and put through one softmax. What falls to categories that the
policy does not have is doubt. Without the trained classifier the lexicons are alone, and doubt
is what falls to a rival with a fixed logit.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from llmrouterd.classifier.followup import continued
from llmrouterd.classifier.framing import unframed
from llmrouterd.classifier.lexicon import probabilities
from llmrouterd.policy import GENERAL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmrouterd.classifier.model import CategoryModel
    from llmrouterd.classifier.semantic import BlendedModel
    from llmrouterd.policy import Policy

    Classifier = CategoryModel | BlendedModel

# A category of the owner's own, which the model was not trained for, is taken for this rare
# before its lexicon is heard.
_STRANGER = math.log(0.02)
MOST_TURNS = 4  # that are looked back upon


class Reading(NamedTuple):
    """category: `general` where no category is likely enough. probabilities: sum to 1 over the
    policy's categories. doubt: the probability of none of them."""

    category: str
    probabilities: Mapping[str, float]
    doubt: float


def read_category(turns: Sequence[str], policy: Policy) -> Reading:
    """The category of the current task, from the human's turns, the newest first.

    A short turn ("and in Python?") is read together with what went before it: the logits of the
    turn before are added, the fewer words the more.
    """
    if not any(turns):
        names = policy.categories
        return Reading(GENERAL, dict.fromkeys(names, 1.0 / max(1, len(names))), 1.0)
    if policy.model is None:
        return _of_lexicons(turns, policy)
    settings = policy.classification
    logits = _turn_logits(turns, policy, policy.model)
    for category in logits:
        logits[category] += math.log(settings.prior.get(category, 1.0))
    top = max(logits.values())
    powers = {
        category: math.exp((logit - top) / settings.temperature)
        for category, logit in logits.items()
    }
    whole = sum(powers.values())
    known = {category: powers[category] for category in policy.categories if category in powers}
    mass = sum(known.values())
    doubt = 1.0 - mass / whole
    if not known or mass <= 0.0:
        return Reading(GENERAL, dict.fromkeys(known, 1.0 / max(1, len(known))), 1.0)
    shares = {category: power / mass for category, power in known.items()}
    return _reading(shares, max(0.0, doubt), settings.threshold)


def _turn_logits(turns: Sequence[str], policy: Policy, model: Classifier) -> dict[str, float]:
    """The newest turn's logits; a short one is mixed with those before it."""
    newest = turns[0] if turns else ""
    share = continued(newest) if len(turns) > 1 else 0.0
    if share == 1.0:
        return _turn_logits(turns[1:MOST_TURNS], policy, model)
    logits = text_logits(newest, policy, model, 1.0 - share)
    if share:
        before = _turn_logits(turns[1:MOST_TURNS], policy, model)
        for category, logit in before.items():
            logits[category] += share * logit
    return logits


def text_logits(
    text: str, policy: Policy, model: Classifier, trust: float = 1.0
) -> dict[str, float]:
    """category -> logit of one text, for the model's categories and the policy's. trust: the
    share of the model's logits that counts; the lexicons' evidence always counts in full."""
    text = unframed(text)
    logits = dict(zip(model.categories, model.logits(text), strict=True))
    if trust < 1.0:
        logits = {category: trust * logit for category, logit in logits.items()}
    weight = policy.classification.lexicon_weight
    for category, evidence in policy.lexicons.match(text).totals:
        logits[category] = logits.get(category, _STRANGER) + weight * evidence
    return logits


def _of_lexicons(turns: Sequence[str], policy: Policy) -> Reading:
    """The newest turn's category; a turn that says nothing inherits from the one before."""
    reading = Reading(GENERAL, {}, 1.0)
    for at, text in enumerate(turns[:2] or ("",)):
        settings = policy.classification
        shares, doubt = probabilities(
            policy.lexicons.match(text),
            prior=settings.prior,
            abstain_logit=settings.abstain_logit,
            temperature=settings.temperature,
        )
        found = _reading(shares, doubt, settings.threshold)
        if at == 0 or found.category != GENERAL:
            reading = found
        if reading.category != GENERAL:
            break
    return reading


def _reading(shares: Mapping[str, float], doubt: float, threshold: float) -> Reading:
    best = max(shares, key=lambda name: shares[name], default=GENERAL)
    sure = (1.0 - doubt) * shares.get(best, 0.0) >= threshold
    return Reading(best if sure else GENERAL, shares, doubt)
