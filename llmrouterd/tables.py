"""Every table, migration and query of the database. A query is a function of the open database,
which `store.Store.run` runs on the writer's thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from sqlite_utils import Database

    from llmrouterd.replay.pieces import Piece

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE decisions (
        id TEXT PRIMARY KEY, at REAL NOT NULL, mode TEXT NOT NULL, rule TEXT NOT NULL,
        category TEXT NOT NULL, model TEXT, backend TEXT, outcome TEXT NOT NULL,
        policy TEXT NOT NULL, ttft REAL, seconds REAL, prompt_tokens INTEGER,
        completion_tokens INTEGER, record TEXT NOT NULL
    );
    CREATE INDEX decisions_at ON decisions (at);
    CREATE TABLE profiles (
        model TEXT PRIMARY KEY, digest TEXT, load_seconds REAL, ttft_seconds REAL,
        prefill_tokens_per_second REAL, decode_tokens_per_second REAL,
        samples INTEGER NOT NULL, measured_at TEXT NOT NULL, error TEXT
    );
    CREATE TABLE benchmarks (
        source TEXT NOT NULL, model TEXT NOT NULL, board TEXT NOT NULL, value REAL NOT NULL,
        low REAL, high REAL, date TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (source, model, board)
    );
    CREATE TABLE benchmark_sources (
        source TEXT PRIMARY KEY, status TEXT NOT NULL, checked_at TEXT NOT NULL,
        rows INTEGER NOT NULL, detail TEXT NOT NULL DEFAULT ''
    );
    """,
    """
    ALTER TABLE benchmarks ADD COLUMN votes INTEGER;
    ALTER TABLE benchmark_sources ADD COLUMN http_status INTEGER;
    ALTER TABLE benchmark_sources ADD COLUMN synced_at TEXT NOT NULL DEFAULT '';
    ALTER TABLE benchmark_sources ADD COLUMN published TEXT NOT NULL DEFAULT '';
    ALTER TABLE benchmark_sources ADD COLUMN etags TEXT NOT NULL DEFAULT '{}';
    ALTER TABLE benchmark_sources ADD COLUMN next_at REAL NOT NULL DEFAULT 0;
    CREATE TABLE model_facts (
        source TEXT NOT NULL, model TEXT NOT NULL, record TEXT NOT NULL,
        PRIMARY KEY (source, model)
    );
    CREATE TABLE measurements (
        model TEXT NOT NULL, digest TEXT NOT NULL DEFAULT '', at REAL NOT NULL,
        record TEXT NOT NULL, PRIMARY KEY (model)
    );
    INSERT INTO measurements SELECT model, coalesce(digest, ''),
        coalesce(CAST(strftime('%s', measured_at) AS REAL), 0),
        json_object('load_seconds', load_seconds, 'ttft_seconds', ttft_seconds,
            'prefill_tokens_per_second', prefill_tokens_per_second,
            'decode_tokens_per_second', decode_tokens_per_second, 'samples', samples,
            'measured_at', measured_at) FROM profiles WHERE samples > 0;
    DROP TABLE profiles;
    CREATE TABLE feedback (
        decision TEXT NOT NULL, client TEXT NOT NULL, at REAL NOT NULL, model TEXT NOT NULL,
        category TEXT NOT NULL, value REAL NOT NULL, PRIMARY KEY (decision, client)
    );
    """,
    """
    CREATE TABLE examples (
        id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, text TEXT NOT NULL UNIQUE,
        category TEXT NOT NULL, decision TEXT NOT NULL, client TEXT NOT NULL
    );
    """,
    "CREATE TABLE pins (model TEXT PRIMARY KEY, pinned INTEGER NOT NULL);",
    """
    ALTER TABLE decisions ADD COLUMN world TEXT NOT NULL DEFAULT '';
    CREATE TABLE pieces (digest TEXT PRIMARY KEY, body BLOB NOT NULL, parts TEXT NOT NULL);
    CREATE TABLE policies (
        at REAL PRIMARY KEY, digest TEXT NOT NULL, reason TEXT NOT NULL, changed TEXT NOT NULL,
        summary TEXT NOT NULL DEFAULT ''
    );
    """,
    "CREATE TABLE spending (backend TEXT, day TEXT, usd REAL, PRIMARY KEY (backend, day));",
    """
    ALTER TABLE decisions ADD COLUMN request TEXT NOT NULL DEFAULT '';
    CREATE INDEX decisions_request ON decisions (request);
    """,
)

# All pieces that decisions still refer to, by way of others.
_FORGET_PIECES = """
    WITH RECURSIVE needed (digest) AS (
        SELECT DISTINCT world FROM decisions WHERE world != ''
        UNION SELECT part.value FROM needed JOIN pieces USING (digest), json_each(parts) AS part
    )
    DELETE FROM pieces WHERE digest NOT IN needed
"""

_BENCHMARK_COLUMNS = ("model", "board", "value", "low", "high", "date", "votes")
_INSERT_BENCHMARK = """
    INSERT OR REPLACE INTO benchmarks (source, model, board, value, low, high, date, votes)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""


def migrate(database: Database) -> None:
    """Bring the tables up to date; `PRAGMA user_version` counts the migrations applied."""
    done = int(database.execute("PRAGMA user_version").fetchone()[0])
    for number, script in enumerate(MIGRATIONS[done:], start=done + 1):
        database.conn.executescript(f"BEGIN; {script} PRAGMA user_version = {number}; COMMIT;")


def recent_decisions(
    limit: int, before: float | None
) -> Callable[[Database], list[dict[str, Any]]]:
    """The newest decisions without their records, newest first."""
    columns = (
        "id, at, mode, rule, category, model, backend, outcome, policy, ttft, seconds, "
        "prompt_tokens, completion_tokens"
    )
    where, arguments = ("at < ?", [before]) if before else (None, [])
    return lambda database: list(
        database["decisions"].rows_where(
            where, arguments, select=columns, order_by="at desc", limit=limit
        )
    )


def decision(id_: str) -> Callable[[Database], dict[str, Any] | None]:
    """One decision with its record parsed, None if there is none."""

    def query(database: Database) -> dict[str, Any] | None:
        for row in database["decisions"].rows_where("id = ?", [id_], limit=1):
            return {**row, "record": orjson.loads(row["record"])}
        return None

    return query


def decisions_of_request(id_: str) -> Callable[[Database], list[dict[str, Any]]]:
    """The decisions of requests with this x-request-id, newest first: a client may use one id
    for all requests about one message."""
    return lambda database: [
        {**row, "record": orjson.loads(row["record"])}
        for row in database["decisions"].rows_where(
            "request = ?", [id_], order_by="at desc", limit=20
        )
    ]


def put_pieces(database: Database, pieces: Mapping[str, Piece]) -> None:
    """Add those that are not there yet; inside the caller's transaction."""
    database.conn.executemany(
        "INSERT OR IGNORE INTO pieces (digest, body, parts) VALUES (?, ?, ?)",
        [
            (digest, piece.body, orjson.dumps(piece.parts).decode())
            for digest, piece in pieces.items()
        ],
    )


def decisions_since(database: Database, since: float, most: int) -> Iterator[dict[str, Any]]:
    """The newest decisions that were made after a Unix time, the newest first, their records as
    JSON text."""
    return iter(
        database.query(
            "SELECT id, at, record, world FROM decisions WHERE at >= ? ORDER BY at DESC LIMIT ?",
            [since, most],
        )
    )


def uses_since(since: float) -> Callable[[Database], list[tuple[str, float]]]:
    """(model, Unix time) of the answers after a Unix time, the oldest first."""
    return lambda database: list(
        database.execute(
            "SELECT model, at FROM decisions WHERE at >= ? AND outcome = 'ok' ORDER BY at", [since]
        ).fetchall()
    )


def piece(database: Database, digest: str) -> bytes:
    """The body of a piece. Raises KeyError."""
    row = database.execute("SELECT body FROM pieces WHERE digest = ?", [digest]).fetchone()
    if row is None:
        raise KeyError(digest)
    return bytes(row[0])


def save_policy(row: dict[str, Any], most: int) -> Callable[[Database], None]:
    """Add an applied edit, or replace it by its time, and forget the oldest beyond so many."""

    def query(database: Database) -> None:
        with database.conn as connection:
            connection.execute(
                "INSERT OR REPLACE INTO policies (at, digest, reason, changed, summary) "
                "VALUES (:at, :digest, :reason, :changed, :summary)",
                row,
            )
            connection.execute(
                "DELETE FROM policies WHERE rowid NOT IN "
                "(SELECT rowid FROM policies ORDER BY at DESC LIMIT ?)",
                [most],
            )

    return query


def policies(database: Database) -> list[dict[str, Any]]:
    """The edits that were applied, the newest first."""
    return list(database["policies"].rows_where(order_by="at desc"))


def forget_decisions(before: float) -> Callable[[Database], int]:
    """Delete the decisions made before a Unix time, and what only they were made from; returns
    how many there were."""

    def query(database: Database) -> int:
        with database.conn:
            cursor = database.execute("DELETE FROM decisions WHERE at < ?", [before])
            database.execute(_FORGET_PIECES)
        return int(cursor.rowcount)

    return query


def all_rows(table: str) -> Callable[[Database], list[dict[str, Any]]]:
    """All rows of a small table."""
    return lambda database: list(database[table].rows)


def save_measurements(
    model: str, digest: str, at: float, record: str
) -> Callable[[Database], None]:
    """Insert or replace what was measured of one model, as JSON text. at: Unix time."""
    row = {"model": model, "digest": digest, "at": at, "record": record}

    def query(database: Database) -> None:
        with database.conn:
            database.table("measurements").insert(row, pk="model", replace=True)

    return query


def save_pins(pins: Mapping[str, bool]) -> Callable[[Database], None]:
    """Keep what is pinned or let go against the policy, by model id, in place of all before."""

    def query(database: Database) -> None:
        with database.conn as connection:
            connection.execute("DELETE FROM pins")
            connection.executemany("INSERT INTO pins (model, pinned) VALUES (?, ?)", pins.items())

    return query


def replace_benchmarks(
    source: str,
    rows: Iterable[dict[str, Any]],
    status: dict[str, Any],
    facts: Iterable[tuple[str, str]] = (),
) -> Callable[[Database], None]:
    """Replace all rows of one source, its facts and its status, in one transaction.

    rows: by column; `date` is needed, "" for none. facts: (model, JSON text) pairs.
    """
    kept = [[source, *(row.get(name) for name in _BENCHMARK_COLUMNS)] for row in rows]
    said = [[source, model, record] for model, record in facts]

    def query(database: Database) -> None:
        # Plain statements: sqlite_utils commits after each one of its own.
        with database.conn as connection:
            connection.execute("DELETE FROM benchmarks WHERE source = ?", [source])
            connection.execute("DELETE FROM model_facts WHERE source = ?", [source])
            connection.executemany(_INSERT_BENCHMARK, kept)
            connection.executemany(
                "INSERT OR REPLACE INTO model_facts (source, model, record) VALUES (?, ?, ?)", said
            )
            _put_status(database, source, status)

    return query


def save_source_status(source: str, status: dict[str, Any]) -> Callable[[Database], None]:
    """Insert or replace the status of one source; its rows stay."""

    def query(database: Database) -> None:
        with database.conn:
            _put_status(database, source, status)

    return query


def _put_status(database: Database, source: str, status: dict[str, Any]) -> None:
    row = {"source": source, **status}
    database.table("benchmark_sources").insert(row, pk="source", replace=True)


def data_version(database: Database) -> int:
    """A number that changes when another connection has written to the database."""
    return int(database.execute("PRAGMA data_version").fetchone()[0])


def examples(database: Database) -> list[dict[str, Any]]:
    """All corrected prompts, the newest first."""
    return list(database["examples"].rows_where(order_by="id desc"))


def save_example(row: dict[str, Any], most: int) -> Callable[[Database], list[dict[str, Any]]]:
    """Insert one, in place of one with the same text, and delete the oldest beyond so many;
    returns all, the newest first."""

    def query(database: Database) -> list[dict[str, Any]]:
        with database.conn as connection:
            connection.execute("DELETE FROM examples WHERE text = ?", [row["text"]])
            connection.execute(
                "INSERT INTO examples (at, text, category, decision, client) "
                "VALUES (:at, :text, :category, :decision, :client)",
                row,
            )
            connection.execute(
                "DELETE FROM examples WHERE id NOT IN "
                "(SELECT id FROM examples ORDER BY id DESC LIMIT ?)",
                [most],
            )
        return examples(database)

    return query


def forget_example(id_: int) -> Callable[[Database], list[dict[str, Any]]]:
    """Delete one, if it is there; returns the others, the newest first."""

    def query(database: Database) -> list[dict[str, Any]]:
        with database.conn as connection:
            connection.execute("DELETE FROM examples WHERE id = ?", [id_])
        return examples(database)

    return query


def add_spending(backend: str, day: str, usd: float) -> Callable[[Database], None]:
    """Add dollars to a backend's sum of a day (YYYY-MM-DD)."""

    def query(database: Database) -> None:
        with database.conn as connection:
            connection.execute(
                "INSERT INTO spending (backend, day, usd) VALUES (?, ?, ?) "
                "ON CONFLICT (backend, day) DO UPDATE SET usd = usd + excluded.usd",
                [backend, day, usd],
            )

    return query


def save_feedback(row: dict[str, Any]) -> Callable[[Database], list[dict[str, Any]]]:
    """Insert or replace one opinion; returns the sums of all, see `feedback_sums`."""

    def query(database: Database) -> list[dict[str, Any]]:
        with database.conn:
            database.table("feedback").insert(row, pk=("decision", "client"), replace=True)
        return feedback_sums(database)

    return query


def feedback_sums(database: Database) -> list[dict[str, Any]]:
    """Rows of model, category, number and total of the values."""
    return list(
        database.query(
            "SELECT model, category, count(*) AS number, sum(value) AS total FROM feedback "
            "GROUP BY model, category"
        )
    )
