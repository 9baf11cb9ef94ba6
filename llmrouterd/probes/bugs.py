"""Short Python functions, and for each the lines that would make it wrong."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Bug:
    """A right function, by lines, and wrong lines by their number."""

    level: int
    purpose: str
    lines: tuple[str, ...]
    wrong: dict[int, str]


BUGS: tuple[Bug, ...] = (
    Bug(
        level=1,
        purpose="return the larger of two numbers",
        lines=(
            "def larger(a, b):",
            "    if a > b:",
            "        return a",
            "    return b",
        ),
        wrong={
            2: "    if a < b:",
            4: "    return a",
        },
    ),
    Bug(
        level=1,
        purpose="return the area of a rectangle",
        lines=(
            "def area(width, height):",
            "    result = width * height",
            "    return result",
        ),
        wrong={
            2: "    result = width + height",
            3: "    return width",
        },
    ),
    Bug(
        level=1,
        purpose="tell whether a number is even",
        lines=(
            "def is_even(n):",
            "    rest = n % 2",
            "    return rest == 0",
        ),
        wrong={
            2: "    rest = n // 2",
            3: "    return rest == 1",
        },
    ),
    Bug(
        level=2,
        purpose="return the sum of all numbers in a list",
        lines=(
            "def total(numbers):",
            "    result = 0",
            "    for number in numbers:",
            "        result += number",
            "    return result",
        ),
        wrong={
            2: "    result = 1",
            4: "        result = number",
            5: "    return number",
        },
    ),
    Bug(
        level=2,
        purpose="return n factorial",
        lines=(
            "def factorial(n):",
            "    result = 1",
            "    for i in range(2, n + 1):",
            "        result *= i",
            "    return result",
        ),
        wrong={
            2: "    result = 0",
            3: "    for i in range(2, n):",
            4: "        result += i",
        },
    ),
    Bug(
        level=2,
        purpose="count the vowels of a word in lower case",
        lines=(
            "def vowels(word):",
            "    count = 0",
            "    for letter in word:",
            "        if letter in 'aeiou':",
            "            count += 1",
            "    return count",
        ),
        wrong={
            2: "    count = 1",
            4: "        if letter not in 'aeiou':",
            5: "            count = 1",
        },
    ),
    Bug(
        level=3,
        purpose="return the position of an item in a list, or -1 if it is missing",
        lines=(
            "def find(items, wanted):",
            "    for place in range(len(items)):",
            "        if items[place] == wanted:",
            "            return place",
            "    return -1",
        ),
        wrong={
            2: "    for place in range(1, len(items)):",
            4: "            return items[place]",
            5: "    return 0",
        },
    ),
    Bug(
        level=3,
        purpose="return the largest number of a list that is not empty",
        lines=(
            "def largest(numbers):",
            "    best = numbers[0]",
            "    for number in numbers[1:]:",
            "        if number > best:",
            "            best = number",
            "    return best",
        ),
        wrong={
            2: "    best = 0",
            4: "        if number < best:",
            6: "    return number",
        },
    ),
    Bug(
        level=3,
        purpose="return the average of a list, 0 for an empty list",
        lines=(
            "def average(numbers):",
            "    if not numbers:",
            "        return 0",
            "    total = 0",
            "    for number in numbers:",
            "        total += number",
            "    return total / len(numbers)",
        ),
        wrong={
            2: "    if numbers:",
            4: "    total = 1",
            7: "    return total / (len(numbers) - 1)",
        },
    ),
    Bug(
        level=4,
        purpose="find an item in a sorted list by halving, -1 if it is missing",
        lines=(
            "def search(items, wanted):",
            "    low, high = 0, len(items) - 1",
            "    while low <= high:",
            "        middle = (low + high) // 2",
            "        if items[middle] == wanted:",
            "            return middle",
            "        if items[middle] < wanted:",
            "            low = middle + 1",
            "        else:",
            "            high = middle - 1",
            "    return -1",
        ),
        wrong={
            3: "    while low < high:",
            7: "        if items[middle] > wanted:",
            8: "            low = middle",
            10: "            high = middle + 1",
        },
    ),
    Bug(
        level=4,
        purpose="sort a list in place, smallest first",
        lines=(
            "def sort(items):",
            "    for i in range(len(items)):",
            "        smallest = i",
            "        for j in range(i + 1, len(items)):",
            "            if items[j] < items[smallest]:",
            "                smallest = j",
            "        items[i], items[smallest] = items[smallest], items[i]",
        ),
        wrong={
            3: "        smallest = 0",
            5: "            if items[j] > items[smallest]:",
            6: "                smallest = i",
            7: "        items[i] = items[smallest]",
        },
    ),
    Bug(
        level=4,
        purpose="tell whether a text has only matched round brackets",
        lines=(
            "def balanced(text):",
            "    depth = 0",
            "    for char in text:",
            "        if char == '(':",
            "            depth += 1",
            "        elif char == ')':",
            "            depth -= 1",
            "            if depth < 0:",
            "                return False",
            "    return depth == 0",
        ),
        wrong={
            8: "            if depth > 0:",
            9: "                return True",
            10: "    return True",
        },
    ),
    Bug(
        level=5,
        purpose="return all primes below n",
        lines=(
            "def primes(n):",
            "    sieve = [True] * n",
            "    found = []",
            "    for i in range(2, n):",
            "        if sieve[i]:",
            "            found.append(i)",
            "            for j in range(i * i, n, i):",
            "                sieve[j] = False",
            "    return found",
        ),
        wrong={
            4: "    for i in range(1, n):",
            7: "            for j in range(i, n, 2 * i):",
            8: "                sieve[i] = False",
        },
    ),
    Bug(
        level=5,
        purpose="merge two sorted lists into one sorted list",
        lines=(
            "def merge(a, b):",
            "    merged, i, j = [], 0, 0",
            "    while i < len(a) and j < len(b):",
            "        if a[i] <= b[j]:",
            "            merged.append(a[i])",
            "            i += 1",
            "        else:",
            "            merged.append(b[j])",
            "            j += 1",
            "    merged += a[i:]",
            "    merged += b[j:]",
            "    return merged",
        ),
        wrong={
            3: "    while i < len(a) or j < len(b):",
            4: "        if a[i] >= b[j]:",
            10: "    merged += a[i + 1:]",
            11: "    merged += b[i:]",
        },
    ),
    Bug(
        level=5,
        purpose="return the length of the longest run of equal neighbours in a list",
        lines=(
            "def longest_run(items):",
            "    if not items:",
            "        return 0",
            "    best = run = 1",
            "    for i in range(1, len(items)):",
            "        if items[i] == items[i - 1]:",
            "            run += 1",
            "            best = max(best, run)",
            "        else:",
            "            run = 1",
            "    return best",
        ),
        wrong={
            4: "    best = run = 0",
            8: "            best = max(best, i)",
            10: "            run = 0",
            11: "    return run",
        },
    ),
)
