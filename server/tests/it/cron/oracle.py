"""Answers questions about cron expressions with cronsim, an independent implementation of Debian's rules.

Reads lines of JSON {"cron", "zone", "after", "count"} and writes, for each, the next moments as unix
seconds. The expression is first rewritten into cronsim's grammar: nicknames, the leading second 0 of
Spring and Quartz, "?", and ranges that wrap around. Whether it is an interval is decided here by the
rule in docs/cron.md, because cronsim looks only for a leading star in minute and hour.
"""

import json
import sys
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from cronsim import CronSim
from cronsim.cronsim import is_imaginary

NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
NAMES = {
    4: "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split(),
    5: "SUN MON TUE WED THU FRI SAT".split(),
}
# Zones whose clock changes by half an hour, or at a quarter to three.
ODD_CHANGES = ["Australia/Lord_Howe", "Australia/LHI", "Pacific/Chatham", "NZ-CHAT"]
BOUNDS = [(0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6)]


def number(text, field):
    names = NAMES.get(field, [])
    return names.index(text) + BOUNDS[field][0] if text in names else int(text)


def unwrapped(item, field):
    """Writes a range that wraps around as a list."""
    low, high = BOUNDS[field]
    if "-" not in item:
        return item
    span, _, step = item.partition("/")
    first, last = (number(text, field) for text in span.split("-"))
    if first <= last:
        return item
    values = [*range(first, high + 1), *range(low, last + 1)][:: int(step or 1)]
    return ",".join(map(str, values))


def closed(item, field):
    """Ends an open step of a weekday at Saturday: cronsim's field runs to 7."""
    start, _, step = item.partition("/")
    return f"{start}-6/{step}" if field == 5 and step and start.isdigit() else item


def fields(expression):
    parts = NICKNAMES.get(expression, expression).upper().replace("?", "*").split()
    parts = parts if len(parts) == 6 else ["0", *parts]
    return [",".join(unwrapped(closed(item, at), at) for item in part.split(",")) for at, part in enumerate(parts)]


def is_interval(parts):
    items = [item for part in parts[:3] for item in part.split(",")]
    return any(item[0] == "*" or ("/" in item and "-" not in item) for item in items)


def interval(parts, zone, after):
    """Follows real time. cronsim walks whole hours, so zones with odd changes are walked minute by minute here."""
    sim = CronSim(" ".join(parts), after)
    sim.fixup_tz, sim.dt = None, after
    if str(zone) not in ODD_CHANGES:
        while True:
            yield int(next(sim).timestamp())
    start = int(after.timestamp())
    instant = datetime.fromtimestamp(start - start % 60, timezone.utc)
    while True:
        wall = instant.astimezone(zone)
        hit = wall.minute in sim.minutes and wall.hour in sim.hours and wall.month in sim.months
        if hit and sim.match_day(wall.date()):
            for second in sorted(sim.seconds):
                yield int(instant.timestamp()) + second
        instant += timedelta(minutes=1)


def fixed_time(parts, zone, after):
    """Searches the plain calendar with cronsim, and moves each match out of a gap, second by second."""
    sim = CronSim(" ".join(parts), after.replace(tzinfo=None))
    while True:
        wall = next(sim)
        while is_imaginary(wall.replace(tzinfo=zone)):
            wall += timedelta(seconds=1)
        yield int(wall.replace(tzinfo=zone, fold=0).timestamp())


def answer(question):
    parts, zone = fields(question["cron"]), ZoneInfo(question["zone"])
    after = datetime.fromtimestamp(question["after"], zone)
    search = interval if is_interval(parts) else fixed_time
    moments = []
    for moment in search(parts, zone, after):
        if moment > question["after"] and moment not in moments:
            moments.append(moment)
        if len(moments) == question["count"]:
            return moments


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))))
