"""Which publications expire: random histories against arithmetic of another kind."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from ziggy_dask.definitions.retention import Retention
from ziggy_dask.records.expiry import Published, Stored, to_expire

NOW = datetime(2026, 11, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)


def history(chance: random.Random) -> tuple[Stored, dict[str, tuple[Retention, ...]]]:
    """Return a past of a few products, some of which were removed, and rules for them."""
    count = chance.randint(1, 30)
    ages = sorted((chance.uniform(0, 200) for _ in range(count)), reverse=True)
    publications = [
        Published(number=number, snapshot=f"s{number}", time=NOW - timedelta(days=age))
        for number, age in enumerate(ages, start=1)
    ]
    versions, removals, rules = {}, {}, {}
    for path in "abcd"[: chance.randint(1, 4)]:
        made = sorted(chance.sample(range(1, count + 1), chance.randint(0, count)))
        some, is_there = [], False
        for number in made:
            is_end = is_there and chance.random() < 0.2
            some.append((number, is_end))
            is_there = not is_end
            if is_end and chance.random() < 0.5:
                removals[path] = number
        versions[path] = some
        choices = [
            (),
            (Retention(data_type=path, is_all=True),),
            (Retention(data_type=path, last=chance.randint(1, 4)),),
            (Retention(data_type=path, days=chance.randint(1, 150)),),
            (
                Retention(data_type=path, last=2),
                Retention(data_type=path, days=chance.randint(1, 150)),
            ),
        ]
        rules[path] = chance.choice(choices)
    needed = set(chance.sample(range(1, count + 1), chance.randint(0, count // 4)))
    stored = Stored(
        publications=publications,
        versions=versions,
        removals=removals,
        needed=needed,
        began=None,
    )
    return stored, rules


def stays(stored, rules, path, place):
    """Tell whether the version at a place of the history of a product stays, and why."""
    versions = stored.versions[path]
    number, is_end = versions[place]
    if is_end:
        return False
    later = versions[place + 1 :]
    is_all = not rules[path] or any(rule.is_all for rule in rules[path])
    if number > stored.removals.get(path, 0) and is_all:
        return True
    if not later:
        return False  # it is in the newest publication
    time = {one.number: one.time for one in stored.publications}
    for rule in rules[path]:
        if rule.days and NOW - time[later[0][0]] < timedelta(days=rule.days):
            return True
    if number <= stored.removals.get(path, 0):
        return False
    newer = [one for one, ended in later if not ended]
    return any(len(newer) < rule.last for rule in rules[path])


@pytest.mark.parametrize("seed", range(200))
def test_random_histories_expire_as_each_version_by_itself_says(seed):
    stored, rules = history(random.Random(seed))
    gone = {
        one.number for one in to_expire(stored, rules.__getitem__, NOW, timedelta(0))
    }
    last = len(stored.publications)
    for number in range(1, last + 1):
        of_it = [
            (path, place)
            for path, versions in stored.versions.items()
            for place, one in enumerate(versions)
            if one[0] == number
        ]
        is_kept = (
            number in (1, last)
            or number in stored.needed
            or any(stays(stored, rules, *one) for one in of_it)
            or (not of_it and not any(rules.values()))
        )
        assert (number not in gone) is is_kept, (number, of_it)


def test_what_was_the_newest_state_an_hour_ago_stays():
    publications = [
        Published(number=n, snapshot=f"s{n}", time=NOW - n_ago * timedelta(minutes=1))
        for n, n_ago in ((1, 500), (2, 400), (3, 90), (4, 30), (5, 10))
    ]
    stored = Stored(
        publications=publications,
        versions={"a": [(n, False) for n in range(2, 6)]},
        removals={},
        needed=(),
        began=None,
    )
    rule = (Retention(data_type="a"),)
    gone = [one.number for one in to_expire(stored, lambda path: rule, NOW, HOUR)]
    assert gone == [2]  # 3 was the newest one 31 minutes ago
