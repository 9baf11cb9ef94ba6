"""Days and times of day in a text, where they can be read in one way only."""

from __future__ import annotations

import re
from datetime import date

MONTHS = (
    "January February March April May June July August September October November December"
).split()
WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
_NAMES = {name.lower(): number for number, name in enumerate(MONTHS, start=1)}
_NAMES |= {name[:3]: number for name, number in _NAMES.items()} | {"sept": 9}
_NAME = "|".join(sorted(_NAMES, key=len, reverse=True))
_DATE = re.compile(
    r"(?<!\d)(?:(?P<y1>\d{4})[-/.](?P<m1>\d{1,2})[-/.](?P<d1>\d{1,2})(?!\d)"
    rf"|(?P<d2>\d{{1,2}})(?:st|nd|rd|th)?(?: of)? (?P<m2>{_NAME})\.?,? (?P<y2>\d{{4}})"
    rf"|\b(?P<m3>{_NAME})\.? (?P<d3>\d{{1,2}})(?:st|nd|rd|th)?,? (?P<y3>\d{{4}})"
    r"|(?P<y4>\d{4})年(?P<m4>\d{1,2})月(?P<d4>\d{1,2})日)",
    re.IGNORECASE,
)
_TIME = re.compile(
    r"(?<![\d:.])(?P<h>\d{1,2})(?:[:.h](?P<m>\d{2})(?![\d])(?::00)?)?"
    r"[ ]?(?P<half>a\.?m\b\.?|p\.?m\b\.?)?",
    re.IGNORECASE,
)


def find_dates(text: str) -> list[date]:
    """Every full date of a `plain` text; 03/04/2024, which has two readings, is none."""
    found = []
    for match in _DATE.finditer(text):
        for way in "1234":
            year, month, day = (match[f"{part}{way}"] for part in "ymd")
            if year:
                number = int(month) if month.isdigit() else _NAMES[month.lower()]
                try:
                    found.append(date(int(year), number, int(day)))
                except ValueError:
                    continue  # no such day
    return found


def find_times(text: str) -> list[str]:
    """Every time of day of a `plain` text as HH:MM; a lone hour needs a.m. or p.m."""
    found = []
    for match in _TIME.finditer(text):
        hour, minute, half = int(match["h"]), match["m"], (match["half"] or "").lower()
        if not minute and not half:
            continue
        if half:
            if not 1 <= hour <= 12 and not (half[0] == "p" and 13 <= hour <= 23):
                continue
            hour = hour if hour > 12 else hour % 12 + (12 if half[0] == "p" else 0)
        if hour < 24 and int(minute or 0) < 60:
            found.append(f"{hour:02d}:{minute or '00'}")
    return found


def weekday(day: date) -> str:
    """Its English name."""
    return WEEKDAYS[day.weekday()]
