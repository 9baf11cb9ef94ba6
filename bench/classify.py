"""How long reading a category takes: python -m bench.classify

Over the prompts of `training/check` and of `training/prompts` of up to 4,000 characters, side by
side in one run: the lexicons alone, with the trained classifier, and with the sentence encoder
where the extra `semantic` is installed. One core, in milliseconds, and as a ratio to the first.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from bench.routing.rules import default_policy
from llmrouterd.classifier.category import read_category
from llmrouterd.config.weights import blended_model, category_model, sentence_encoder
from training.data import CHECK, HAND, HERE, own_rows

LONGEST = 4000


def main() -> None:
    rows = [*own_rows(HERE / "prompts", HAND), *own_rows(HERE / "check", CHECK)]
    texts = [row.text for row in rows if len(row.text) <= LONGEST]
    texts += [(text * (LONGEST // len(text) + 1))[:LONGEST] for text in texts[:: len(texts) // 100]]
    policy = default_policy()
    kinds = {"lexicons": None, "trained": category_model()}
    if sentence_encoder() is not None:
        kinds["semantic"] = blended_model()
    print(f"{len(texts):,} prompts, 100 of them of {LONGEST:,} characters")
    first = 0.0
    for name, model in kinds.items():
        made = replace(policy, model=model)
        taken = []
        for text in texts:
            start = time.perf_counter()
            read_category([text], made)
            taken.append(1e3 * (time.perf_counter() - start))
        median, high = np.percentile(taken, [50, 95])
        first = first or float(median)
        print(f"{name:10} median {median:.2f}  p95 {high:.2f}  {median / first:.1f} x")


if __name__ == "__main__":
    main()
