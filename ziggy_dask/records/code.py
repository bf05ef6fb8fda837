"""Code of algorithms on record: every file once, by its content.

An instance runs the code it was launched with until it ends, from a copy that is made of this.
So it can be shown and checked out years later, also if nobody had committed it.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum

from sqlalchemy import Connection, insert, select

from ziggy_dask.definitions import CodeFile, CodeTree
from ziggy_dask.errors import RecordsError
from ziggy_dask.records.database import Database, patiently
from ziggy_dask.records.tables import IngredientRow

_AT_ONCE = 200


class Kind(Enum):
    """What an ingredient is."""

    CODE_FILE = "code file"
    """Content of a file of algorithms' code."""
    CODE = "code"
    """Paths and digests of the files of a pipeline's code."""
    NODE = "node"
    """Definition of a node."""
    PARAMETERS = "parameters"
    """Values of a parameter set."""
    MODEL = "model"
    """A version of a model."""
    ENVIRONMENT = "environment"
    """Machine, Python and packages of a worker."""


@patiently
def save_code(database: Database, tree: CodeTree) -> None:
    """Put code on record, as far as it is not yet."""
    with database.writing() as connection:
        save_tree(connection, tree)


def save_tree(connection: Connection, tree: CodeTree) -> None:
    """Put code on record in a transaction."""
    if _known(connection, Kind.CODE, [tree.digest]):
        return
    contents = {file.digest: file.content for file in tree.files}
    save_ingredients(connection, Kind.CODE_FILE, contents, names={})
    listing = json.dumps({"git": tree.described, "files": tree.listing})
    content = {tree.digest: listing.encode()}
    save_ingredients(connection, Kind.CODE, content, {tree.digest: tree.version})


def save_ingredients(
    connection: Connection,
    kind: Kind,
    contents: Mapping[str, bytes],
    names: Mapping[str, str],
) -> dict[str, int]:
    """Put contents on record that are not yet; return the keys of all, by digest."""
    missing = contents.keys() - _known(connection, kind, contents).keys()
    if missing:
        rows = [
            {
                "kind": kind.value,
                "digest": digest,
                "name": names.get(digest, ""),
                "content": zlib.compress(contents[digest]),
            }
            for digest in sorted(missing)
        ]
        connection.execute(insert(IngredientRow), rows)
    return _known(connection, kind, contents)


@patiently
def load_code(database: Database, digest: str) -> CodeTree:
    """Return code that is on record.

    Parameters
    ----------
    database
        The records.
    digest
        Digest of the code; its first characters suffice.

    Raises
    ------
    RecordsError
        If there is none, or it was changed since it was put on record.
    """
    with database.reading() as connection:
        query = select(IngredientRow.digest, IngredientRow.content).where(
            IngredientRow.kind == Kind.CODE.value,
            IngredientRow.digest.startswith(digest),
        )
        rows = connection.execute(query).all() if digest else []
        if len(rows) != 1:
            found = "several are" if rows else "none is"
            raise RecordsError(
                f"no code {digest!r} is on record: {found} of that digest"
            )
        text = zlib.decompress(rows[0].content)
        if not text:
            raise RecordsError(f"of the code {digest!r} only its version is on record")
        listing = json.loads(text)
        contents = _contents(connection, {one[1] for one in listing["files"]})
    files = tuple(
        CodeFile(path, contents[file], bool(executable))
        for path, file, executable in listing["files"]
    )
    tree = CodeTree(files, listing["git"])
    if tree.digest != rows[0].digest:
        raise RecordsError(f"the code {digest!r} on record is not what was recorded")
    return tree


def _contents(connection: Connection, digests: Iterable[str]) -> dict[str, bytes]:
    found = {}
    for some in _some(digests):
        query = select(IngredientRow.digest, IngredientRow.content).where(
            IngredientRow.kind == Kind.CODE_FILE.value, IngredientRow.digest.in_(some)
        )
        for row in connection.execute(query):
            found[row.digest] = zlib.decompress(row.content)
    missing = [digest for digest in digests if digest not in found]
    if missing:
        raise RecordsError(f"the file {missing[0]!r} of recorded code is not on record")
    return found


def _known(
    connection: Connection, kind: Kind, digests: Iterable[str]
) -> dict[str, int]:
    return {
        row.digest: row.id
        for some in _some(digests)
        for row in connection.execute(
            select(IngredientRow.digest, IngredientRow.id).where(
                IngredientRow.kind == kind.value, IngredientRow.digest.in_(some)
            )
        )
    }


def _some(digests: Iterable[str]) -> Iterator[list[str]]:
    waiting = sorted(set(digests))
    for start in range(0, len(waiting), _AT_ONCE):
        yield waiting[start : start + _AT_ONCE]


def digest_of(content: bytes) -> str:
    """Return the digest by which a content is known."""
    return hashlib.sha256(content).hexdigest()
