"""The trained classifier: a text's features in, a logit for each category out.

A multinomial logistic regression over words, pieces of words and structure. The weights of one
feature for all categories are packed into one integer, a lane of bits for each: adding integers
then adds all lanes at once, which makes plain Python as fast here as a numeric library, and needs
none. A last lane sums the squares that the vector's length is made of.

`training/` makes the weights; `docs/model-card.md` says from what, and how well they do.
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import orjson

from llmrouterd.classifier.features import STRUCTURE, structure, words_and_pieces

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LANE = 32
_MASK = (1 << _LANE) - 1
_HALF = 1 << (_LANE - 1)
_COUNT_SCALE = 8  # counts' logarithms are kept in eighths
_MOST_COUNTED = 64
# How often a feature occurs -> its weight, in eighths: 1 + log(count).
COUNT_WEIGHTS = (
    0,
    *[round(_COUNT_SCALE * (1.0 + math.log(count))) for count in range(1, _MOST_COUNTED + 1)],
)


class ModelError(ValueError):
    """The weights' file is not one, or is of another version than this program."""


class Table(NamedTuple):
    """Weights of one kind of features: each feature's packed integer, and what a unit of the
    categories' lanes and of the lane of squares is worth."""

    packed: Mapping[str, int]
    unit: float
    square_unit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryModel:
    """Immutable. `of_structure`: a row of weights for each of STRUCTURE, a number a category.

    digest: of the file, as the model card names it.
    """

    categories: tuple[str, ...]
    bias: tuple[float, ...]
    words: Table
    pieces: Table
    of_structure: tuple[tuple[float, ...], ...]
    digest: str

    def logits(self, text: str) -> list[float]:
        """The logarithm of each category's probability, as the words and the form have it."""
        words, pieces = words_and_pieces(text)
        totals = list(self.bias)
        for counts, table in ((words, self.words), (pieces, self.pieces)):
            for at, value in enumerate(_weighed(counts, table, len(totals))):
                totals[at] += value
        for number, weights in zip(structure(text), self.of_structure, strict=True):
            if number:
                for at, weight in enumerate(weights):
                    totals[at] += number * weight
        return normalised(totals)


def normalised(logits: Sequence[float]) -> list[float]:
    """Logits as logarithms of probabilities."""
    top = max(logits)
    whole = top + math.log(sum([math.exp(logit - top) for logit in logits]))
    return [logit - whole for logit in logits]


def _weighed(counts: Mapping[str, int], table: Table, number: int) -> Sequence[float]:
    """The features' sum for each category, as if their vector had the length 1."""
    packed = table.packed
    once = total = 0
    for feature, count in counts.items():
        value = packed.get(feature)
        if value is not None:
            if count == 1:
                once += value
            else:
                total += COUNT_WEIGHTS[min(count, _MOST_COUNTED)] * value
    lanes = unpack(total + COUNT_WEIGHTS[1] * once, number + 1)
    if lanes[number] <= 0:
        return ()
    length = math.sqrt(lanes[number] * table.square_unit / _COUNT_SCALE)
    scale = table.unit / _COUNT_SCALE / length
    return [lane * scale for lane in lanes[:number]]


def pack(lanes: Sequence[int]) -> int:
    """Signed numbers as one integer, the first in the lowest lane."""
    return sum(lane << (_LANE * at) for at, lane in enumerate(lanes))


def unpack(packed: int, number: int) -> list[int]:
    """The signed numbers in an integer that is a sum of packed ones."""
    found = []
    for _ in range(number):
        lane = ((packed & _MASK) ^ _HALF) - _HALF
        found.append(lane)
        packed = (packed - lane) >> _LANE
    return found


# The file: MAGIC, then zlib of: a line of JSON (the head), the features of each table a line
# each, and for each table its features' rows of signed bytes, a category a byte, with the square
# of the feature's rarity as the last (unsigned) byte.
MAGIC = b"llmrouterd category model 1\n"


def read_model(content: bytes, digest: str) -> CategoryModel:
    """A model from its file's bytes. Raises ModelError."""
    if not content.startswith(MAGIC):
        raise ModelError("not the weights of a category model of this version")
    try:
        head_line, _, rest = zlib.decompress(content[len(MAGIC) :]).partition(b"\n")
        head = orjson.loads(head_line)
        if head["structure"] != list(STRUCTURE):
            raise ModelError("the weights were trained for other structural features")
        number = len(head["categories"])
        tables = []
        for table in head["tables"]:
            names, rest = rest[: table["names"]], rest[table["names"] :]
            size = table["features"] * (number + 1)
            rows, rest = rest[:size], rest[size:]
            tables.append(_table(names.decode(), rows, number, table))
        return CategoryModel(
            categories=tuple(head["categories"]),
            bias=tuple(head["bias"]),
            words=tables[0],
            pieces=tables[1],
            of_structure=tuple(tuple(row) for row in head["of_structure"]),
            digest=digest,
        )
    except (zlib.error, struct.error, KeyError, IndexError, ValueError) as error:
        raise ModelError(f"the weights cannot be read: {error}") from error


def _table(names: str, rows: bytes, number: int, head: Mapping[str, float]) -> Table:
    lanes = struct.Struct(f"{number}bB")
    features = names.split("\n")
    packed = {
        feature: pack(row) for feature, row in zip(features, lanes.iter_unpack(rows), strict=True)
    }
    return Table(packed, head["unit"], head["square_unit"])


def write_model(
    head: Mapping[str, object], tables: Sequence[tuple[Sequence[str], bytes, float, float]]
) -> bytes:
    """A model's file: tables are (features, rows, unit, square unit), words before pieces."""
    described, bodies = [], []
    for features, rows, unit, square_unit in tables:
        names = "\n".join(features).encode()
        described.append(
            {
                "features": len(features),
                "names": len(names),
                "unit": unit,
                "square_unit": square_unit,
            }
        )
        bodies += [names, rows]
    line = orjson.dumps({**head, "structure": list(STRUCTURE), "tables": described})
    return MAGIC + zlib.compress(b"\n".join([line, b"".join(bodies)]), 9)
