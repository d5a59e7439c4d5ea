"""The schema, as forward-only migrations. Portable SQL: the PostgreSQL store runs the same tables.

A job is keyed by its ScanJob's UID. `results` has one row a task by its primary key: that, and not the
care of a program, is why a task counts once. An attempt row without `ended_at` is open.
"""

from __future__ import annotations

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE epoch (
        only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
        epoch BIGINT NOT NULL,
        holder TEXT NOT NULL
    );
    INSERT INTO epoch VALUES (1, 0, '');

    CREATE TABLE jobs (
        uid TEXT PRIMARY KEY,
        namespace TEXT NOT NULL,
        name TEXT NOT NULL,
        pool TEXT NOT NULL,
        priority INTEGER NOT NULL,
        parallelism INTEGER NOT NULL,
        max_attempts INTEGER NOT NULL,
        task_timeout_seconds DOUBLE PRECISION NOT NULL,
        state TEXT NOT NULL,
        added_at DOUBLE PRECISION NOT NULL
    );

    CREATE TABLE tasks (
        job TEXT NOT NULL REFERENCES jobs (uid) ON DELETE CASCADE,
        task TEXT NOT NULL,
        seq INTEGER NOT NULL,
        spec BLOB NOT NULL,
        priority INTEGER NOT NULL,
        state TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        charged INTEGER NOT NULL DEFAULT 0,
        lost INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (job, task)
    );
    CREATE INDEX tasks_by_seq ON tasks (job, seq);

    CREATE TABLE attempts (
        job TEXT NOT NULL,
        task TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        epoch BIGINT NOT NULL,
        worker TEXT NOT NULL,
        granted_at DOUBLE PRECISION NOT NULL,
        lease_seconds DOUBLE PRECISION NOT NULL,
        ended_at DOUBLE PRECISION,
        failure TEXT,
        reason TEXT,
        message TEXT,
        PRIMARY KEY (job, task, attempt),
        FOREIGN KEY (job, task) REFERENCES tasks (job, task) ON DELETE CASCADE
    );

    CREATE TABLE results (
        job TEXT NOT NULL,
        task TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        state TEXT NOT NULL,
        body BLOB NOT NULL,
        finished_at DOUBLE PRECISION NOT NULL,
        PRIMARY KEY (job, task),
        FOREIGN KEY (job, task) REFERENCES tasks (job, task) ON DELETE CASCADE
    );

    CREATE TABLE outputs (
        job TEXT NOT NULL,
        task TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        stream TEXT NOT NULL,
        start BIGINT NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (job, task, attempt, stream, start),
        FOREIGN KEY (job, task) REFERENCES tasks (job, task) ON DELETE CASCADE
    );

    CREATE TABLE blob_refs (
        sha256 TEXT NOT NULL,
        job TEXT NOT NULL REFERENCES jobs (uid) ON DELETE CASCADE,
        PRIMARY KEY (sha256, job)
    );
    CREATE INDEX blob_refs_by_job ON blob_refs (job);

    CREATE TABLE reports (
        job TEXT PRIMARY KEY REFERENCES jobs (uid) ON DELETE CASCADE,
        sha256 TEXT NOT NULL,
        size_bytes BIGINT NOT NULL,
        truncated INTEGER NOT NULL,
        summary BLOB NOT NULL,
        stored_at DOUBLE PRECISION NOT NULL
    );

    CREATE TABLE memory (
        pool TEXT NOT NULL,
        tool TEXT NOT NULL,
        tool_version TEXT NOT NULL,
        config_digest TEXT NOT NULL,
        environment_digest TEXT NOT NULL,
        path TEXT NOT NULL,
        content TEXT NOT NULL,
        siblings TEXT NOT NULL,
        good_at DOUBLE PRECISION NOT NULL,
        PRIMARY KEY (pool, tool, tool_version, config_digest, environment_digest, path, content, siblings)
    );

    CREATE TABLE tokens (
        token_sha256 TEXT PRIMARY KEY,
        pool TEXT NOT NULL,
        worker TEXT NOT NULL,
        issued_at DOUBLE PRECISION NOT NULL
    );
    CREATE INDEX tokens_by_worker ON tokens (pool, worker);
    """,
    """
    ALTER TABLE jobs ADD COLUMN worker TEXT NOT NULL DEFAULT '';
    """,
    # A source is there before its job has rows, so it refers to none.
    """
    CREATE TABLE sources (
        job TEXT PRIMARY KEY,
        namespace TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        size_bytes BIGINT NOT NULL,
        revision TEXT NOT NULL,
        base_revision TEXT NOT NULL,
        stored_at DOUBLE PRECISION NOT NULL
    );
    CREATE INDEX sources_by_sha256 ON sources (sha256, namespace);
    """,
)

# Every table, in an order in which references can be followed.
TABLES = (
    "epoch",
    "jobs",
    "tasks",
    "attempts",
    "results",
    "outputs",
    "blob_refs",
    "reports",
    "memory",
    "tokens",
    "sources",
)
