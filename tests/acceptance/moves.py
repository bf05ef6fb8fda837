"""Moves from state to state: those that `docs/states.md` allows, and those that happen."""

import re
import sqlite3
from contextlib import closing
from itertools import pairwise
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "states.md"

TRIGGERS = """
    CREATE TABLE moves (
        id INTEGER PRIMARY KEY, what TEXT, number INT, state TEXT, is_running INT
    );
    CREATE TRIGGER task_begins AFTER INSERT ON tasks BEGIN
        INSERT INTO moves (what, number, state) VALUES ('task', NEW.id, NEW.step);
    END;
    CREATE TRIGGER task_moves AFTER UPDATE OF step, is_error ON tasks
    WHEN OLD.step <> NEW.step OR OLD.is_error <> NEW.is_error BEGIN
        INSERT INTO moves (what, number, state)
        VALUES ('task', NEW.id, iif(NEW.is_error, 'ERROR - ', '') || NEW.step);
    END;
    CREATE TRIGGER instance_begins AFTER INSERT ON instances BEGIN
        INSERT INTO moves (what, number, state, is_running)
        VALUES ('instance', NEW.id, NEW.state, NEW.clock_since_s IS NOT NULL);
    END;
    CREATE TRIGGER instance_moves AFTER UPDATE OF state ON instances
    WHEN OLD.state <> NEW.state BEGIN
        INSERT INTO moves (what, number, state, is_running)
        VALUES ('instance', NEW.id, NEW.state, NEW.clock_since_s IS NOT NULL);
    END;
"""


def note_moves(database: Path) -> None:
    """Let a database of SQLite note all moves, from the first state on."""
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(TRIGGERS)


def noted_moves(database: Path, what: str) -> dict[int, list[str]]:
    """Return the states that tasks or instances came to, in order, by number."""
    found: dict[int, list[str]] = {}
    for number, state, _ in _noted(database, what):
        found.setdefault(number, []).append(state)
    return found


def noted_order(database: Path) -> list[tuple[int, str]]:
    """Return which task came to which state, in order."""
    return [(number, state) for number, state, _ in _noted(database, "task")]


def noted_clocks(database: Path) -> list[tuple[str, bool]]:
    """Return the states that instances came to, and whether their clocks ran then."""
    return [(state, bool(runs)) for _, state, runs in _noted(database, "instance")]


def _noted(database: Path, what: str) -> list[tuple[int, str, int]]:
    query = "SELECT number, state, is_running FROM moves WHERE what = ? ORDER BY id"
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query, (what,)).fetchall()


def illegal_moves(database: Path) -> list[str]:
    """Return the moves that the page does not allow."""
    found = []
    for what in ("instance", "task"):
        allowed = {(row[0], row[1]) for row in rows(f"Moves of {what}s")}
        for number, states in noted_moves(database, what).items():
            found += [
                f"{what} {number}: {one} → {other}, of {states}"
                for one, other in pairwise(states)
                if (one, other) not in allowed
            ]
    return found


def rows(heading: str) -> list[list[str]]:
    """Return the rows of the table below a heading of the page."""
    text = PAGE.read_text().split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")][1:]
    return [
        [re.sub(r"`", "", cell).strip() for cell in line.strip("|").split(" | ")]
        for line in lines
    ]
