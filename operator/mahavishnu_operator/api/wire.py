"""The types between dispatcher and worker: protocol version 1 (docs/adr/0002).

A worker pulls: register once, then lease, renew and deliver results over plain HTTP with JSON bodies.
The pressure: a fleet is never upgraded at one moment, so a worker one version older must go on working.
What must stay true: fields are only added, with defaults, within one PROTOCOL number; a reader ignores
fields it does not know (msgspec's default); times on the wire are durations in seconds, never clock
readings, because two machines do not share a clock.

Paths: POST /v1/register, /v1/lease, /v1/renew, /v1/results, /v1/output, /v1/release, /v1/leave;
PUT and GET /v1/blobs/{sha256}. Every request carries `Authorization: Bearer TOKEN`: the worker's own
token on /v1/register, the session that it answered on all others.
Errors: HTTP status + ErrorBody. 401 SessionUnknown: register again, keep what you hold. 409
ProtocolUnsupported: stop, this worker is too old or too new. 503 NotLeader / Starting: try again.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

PROTOCOL = 1
OLDEST_PROTOCOL = 1
INLINE_PAYLOAD_BYTES = 32 * 1024  # a larger payload travels as a blob
STREAM_TAIL_BYTES = 16 * 1024  # how much of stdout and stderr a result carries
MAX_BLOB_BYTES = 64 * 1024 * 1024


class Hold(Struct, frozen=True):
    """A lease as its holder names it. `task` is `<job uid>/<task id>`; attempts count from 1."""

    task: str
    attempt: int


# --- what a task asks for (a tagged union on `kind`) ---------------------------------------------


class NoopTask(Struct, frozen=True, tag="noop", tag_field="kind"):
    """Answered by the agent itself: measures the engine, starts nothing."""


class CommandTask(Struct, frozen=True, tag="command", tag_field="kind"):
    """Run argv without a shell. `cwd` empty: an empty scratch folder; else an absolute folder.

    `allowed`: names argv[0] must match (basename of nothing: argv[0] itself has no slash).
    Checked by the dispatcher's side before queueing and by the worker again.
    """

    argv: tuple[str, ...]
    cwd: str = ""
    allowed: tuple[str, ...] = ()
    output_limit_bytes: int = 8 * 1024 * 1024
    memory_limit_bytes: int = 0  # 0: no limit of ours


class ArchiveSource(Struct, frozen=True, tag="archive", tag_field="kind"):
    """A tar archive (scan/archives.py) that is a blob of the dispatcher's; it is given to who holds the task alone."""

    sha256: str


class GitSource(Struct, frozen=True, tag="git", tag_field="kind"):
    """A repository that the worker fetches, over https and without credentials.

    In a plan `revision` and `base_revision` are as the author wrote them, and its answer names the commits; in a scan
    `revision` is that commit in full, so that all of a job's tasks look at the same files.
    """

    url: str
    revision: str
    base_revision: str = ""


SourceSpec = ArchiveSource | GitSource


class PlanTask(Struct, frozen=True, tag="plan", tag_field="kind"):
    """List the files under `root` and cut (tools x files) into shards; the payload is a scan Plan (JSON).

    `bins`: how many bins a splittable tool may be cut into at the most (about 2-3 x workers).
    `chunk_size` > 0 overrides the cost model: that many files a bin (chunking mode Fixed).
    `source` is where the worker gets the files from by itself; `root` is then empty, here and in a ScanTask: a worker
    that does not know `source` finds no folder of that name and refuses, and never scans another.
    """

    root: str
    tools: tuple[str, ...]
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    bins: int = 4
    chunk_size: int = 0
    source: SourceSpec | None = None


class ScanTask(Struct, frozen=True, tag="scan", tag_field="kind"):
    """Run one tool over one bin of files; the payload is a scan ToolReport (JSON).

    The list of files is a blob: relative POSIX paths as bytes, each ended by NUL, as git prints with -z.
    """

    tool: str
    root: str
    files_sha256: str
    file_count: int
    output_limit_bytes: int = 128 * 1024 * 1024
    memory_limit_bytes: int = 0
    source: SourceSpec | None = None


TaskSpec = NoopTask | CommandTask | PlanTask | ScanTask


# --- register ------------------------------------------------------------------------------------


class RegisterRequest(Struct, frozen=True):
    """`pool` is `namespace/name`; `incarnation` a random id of this agent process; `holds` what it still has."""

    protocol: int
    pool: str
    worker: str
    incarnation: str
    slots: int
    agent_version: str
    holds: tuple[Hold, ...] = ()


class RegisterResponse(Struct, frozen=True):
    """The session to use from now on, and the pace. `renew_seconds` < `lease_seconds` / 2.

    `ahead_seconds`: about how much work a worker is leased beyond its slots when it asks so (LeaseRequest.ahead), in
    seconds of it; 0: an older dispatcher, which knows no such leases.
    `poll_seconds`: how long a lease request may wait; 0: an older dispatcher, which does not say how long it kept one
    (LeaseResponse.waited_seconds).
    """

    session: str
    epoch: int
    lease_seconds: float
    renew_seconds: float
    max_batch: int = 64
    ahead_seconds: float = 0.0
    poll_seconds: float = 0.0


# --- lease ---------------------------------------------------------------------------------------


class LeaseRequest(Struct, frozen=True):
    """Ask for up to `max` tasks; the answer waits up to `wait_seconds` for the first one.

    `ahead`: some of them may be short tasks for which no slot is free yet; this worker hands back those that it cannot
    begin soon (ReleaseRequest.unstarted).
    """

    max: int
    wait_seconds: float = 0.0
    ahead: bool = False


class Grant(Struct, frozen=True):
    """A task leased to this worker: durable before it was sent. `timeout_seconds`: wall clock of the task."""

    task: str
    attempt: int
    epoch: int
    lease_seconds: float
    timeout_seconds: float
    spec: TaskSpec


class LeaseResponse(Struct, frozen=True):
    """`drain`: take no more, finish what you hold, then leave and exit.

    `waited_seconds`: that long at least after the request had come the grants were made, so they are good from then on.
    """

    grants: tuple[Grant, ...] = ()
    drain: bool = False
    waited_seconds: float = 0.0


# --- renew ---------------------------------------------------------------------------------------


class RenewRequest(Struct, frozen=True):
    """Extend these leases. With `wait_seconds` the answer waits that long for news (cancel, drain)."""

    holds: tuple[Hold, ...] = ()
    wait_seconds: float = 0.0


class RenewResponse(Struct, frozen=True):
    """`cancel`: stop these and deliver what there is, status cancelled. `lost`: not yours any more, drop them."""

    cancel: tuple[Hold, ...] = ()
    lost: tuple[Hold, ...] = ()
    drain: bool = False


# --- results -------------------------------------------------------------------------------------

ResultStatus = Literal["succeeded", "failed", "timed-out", "cancelled", "refused"]
# succeeded: ran to its end and has an answer (a tool with findings too; a command with exit code 0)
# failed: crashed, non-zero exit of a command, output or memory limit: charged to maxAttempts
# timed-out: timeout_seconds passed: charged to maxAttempts
# refused: can never work as asked (tool not installed, root not readable, command not allowed): no retry


class TaskResult(Struct, frozen=True):
    """How one attempt ended.

    `reason` is a CamelCase word (Completed, ToolCrashed, ToolNotInstalled, OutputLimit, MemoryLimit,
    TimedOut, Cancelled, CommandNotAllowed, SourceUnreadable, ExitCode ...), `message` a sentence.
    `exit_code` is the process's own; negative: ended by that signal; None: no process ran.
    `payload`: JSON text when it fits INLINE_PAYLOAD_BYTES, otherwise `payload_sha256` names a blob
    uploaded before. `stdout`/`stderr` are tails, decoded with replacement; `*_bytes` the true lengths.
    """

    task: str
    attempt: int
    status: ResultStatus
    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    duration_seconds: float = 0.0
    payload: str = ""
    payload_sha256: str = ""
    stdout: str = ""
    stderr: str = ""
    stdout_bytes: int = 0
    stderr_bytes: int = 0


class ResultsRequest(Struct, frozen=True):
    """Finished attempts, up to RegisterResponse.max_batch at once."""

    results: tuple[TaskResult, ...]


class Receipt(Struct, frozen=True):
    """`recorded`: durable now. `duplicate`: was durable before. `superseded`: another attempt counts.

    `unknown`: no such task (its job was deleted). In each case the worker may forget the result.
    """

    task: str
    attempt: int
    receipt: Literal["recorded", "duplicate", "superseded", "unknown"]


class ResultsResponse(Struct, frozen=True):
    """One receipt for each result, in order."""

    receipts: tuple[Receipt, ...]


# --- visitors: callers that are no workers -------------------------------------------------------
# PUT /v1/scanjobs/NAMESPACE/NAME/archives/SHA256 (the tar.gz of its files), GET .../report (SARIF), GET .../answers.
# A Pod of the ScanJob's own source Job shows its token as every bearer does, and says the commits in COMMITS_HEADER.
# A person shows in KEY_HEADER the key whose SHA-256 the ScanJob's annotation has: an API server's proxy to services,
# which is how a person comes here, takes the Authorization header away.

KEY_HEADER = "X-Mahavishnu-Key"
COMMITS_HEADER = "X-Mahavishnu-Commits"
MAX_COMMITS_BYTES = 1024


class Commits(Struct, frozen=True):
    """Which commits an archive is of; empty: none. JSON in COMMITS_HEADER."""

    revision: str = ""
    base_revision: str = ""


# --- output, release, leave ----------------------------------------------------------------------


class OutputChunk(Struct, frozen=True):
    """A piece of a running task's output; `offset` counts bytes from the start of that stream."""

    task: str
    attempt: int
    stream: Literal["stdout", "stderr"]
    offset: int
    data: bytes


class OutputRequest(Struct, frozen=True):
    """Chunks in order. Answer: Empty; chunks of superseded attempts are dropped without a word."""

    chunks: tuple[OutputChunk, ...]


class ReleaseRequest(Struct, frozen=True):
    """Hand leases back unfinished (drain, shutdown): class `disrupted`, not charged.

    `unstarted`: none of them was begun. A first attempt is then of class `unstarted`, which counts as nothing.
    """

    holds: tuple[Hold, ...]
    message: str = ""
    unstarted: bool = False


class Empty(Struct, frozen=True):
    """An answer that says only: done."""


class ErrorBody(Struct, frozen=True):
    """What every non-2xx answer carries."""

    reason: str
    message: str
    hint: str = field(default="")
