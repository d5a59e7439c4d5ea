"""Every word that machines match on: condition types, reasons, phases, event and label names.

Alerts, `kubectl wait`, GitOps health checks and dashboards match these strings, so a word that is
spelt in two places drifts in one of them. They live here alone, and docs/reference/reasons.md is
generated from this module. What must stay true: a member's docstring-comment is its documentation,
and a published word is never given a second meaning.
"""

from __future__ import annotations

from enum import StrEnum


class ConditionType(StrEnum):
    """Types of status.conditions; the last three are kstatus's own and are on both kinds."""

    ACCEPTED = "Accepted"  # the spec can be acted on by this installation
    PLANNED = "Planned"  # ScanJob: the list of tasks exists and is durable
    COMPLETE = "Complete"  # ScanJob: every task ran and is counted
    FAILED = "Failed"  # ScanJob: it ended without doing all that was asked
    SUSPENDED = "Suspended"  # ScanJob: nothing new is leased while spec.suspend is set
    RESULTS_STORED = "ResultsStored"  # ScanJob: the report is durable under status.report
    SCALING_ACTIVE = "ScalingActive"  # WorkerPool: workers are being started or stopped; the reason also says why not
    SCALE_DOWN_BLOCKED = "ScaleDownBlocked"  # WorkerPool: busy workers keep it above the target
    BACKEND_REACHABLE = "BackendReachable"  # WorkerPool: the backend answers
    UNSCHEDULABLE = "Unschedulable"  # WorkerPool: workers cannot be placed
    READY = "Ready"  # WorkerPool: as many workers as wanted are ready; ScanJob: it ended well
    RECONCILING = "Reconciling"  # the object is on its way to what spec says
    STALLED = "Stalled"  # it cannot get there by itself


class Reason(StrEnum):
    """Reasons of conditions."""

    # acceptance
    ACCEPTED = "Accepted"  # the spec is valid and everything in it is acted on
    INVALID = "Invalid"  # the spec breaks a rule; the message names the field
    NOT_IMPLEMENTED = "NotImplemented"  # a field asks for what this version does not do yet
    BACKEND_DISABLED = "BackendDisabled"  # this installation was started without that backend
    PATH_NOT_ALLOWED = "PathNotAllowed"  # source.path lies outside --path-root
    POOL_NOT_FOUND = "PoolNotFound"  # the ScanJob waits for a pool that does not exist, or not any more
    POOL_NOT_ACCEPTED = "PoolNotAccepted"  # the pool exists but was refused itself
    NO_POOL_MATCHES = "NoPoolMatches"  # the ScanJob waits: no pool passes its routing; the message says why not
    NAMESPACE_NOT_ALLOWED = "NamespaceNotAllowed"  # the pool does not serve this namespace
    COMMAND_NOT_ALLOWED = "CommandNotAllowed"  # argv[0] is not in the pool's allowedCommands
    # sources
    ARCHIVE_AWAITED = "ArchiveAwaited"  # the ScanJob waits: nobody has brought the archive that it names
    FETCHING_SOURCE = "FetchingSource"  # a Job in the ScanJob's namespace fetches the files
    POD_REFUSED = "PodRefused"  # that Job can make no Pod (quota, admission); the message is the API server's
    CREDENTIALS_MISSING = "CredentialsMissing"  # the Secret is not there, or lacks a key; the message says which
    AUTHENTICATION_REFUSED = "AuthenticationRefused"  # the git server does not accept the credentials
    HOST_KEY_REFUSED = "HostKeyRefused"  # the ssh server's key is not among the Secret's known_hosts
    REVISION_NOT_FOUND = "RevisionNotFound"  # the repository has no such revision
    ARCHIVE_TOO_LARGE = "ArchiveTooLarge"  # the files are over the limit of an archive
    PATH_NOT_FOUND = "PathNotFound"  # the volume has no such folder
    SOURCE_FAILED = "SourceFailed"  # the files could not be fetched; the message says why
    # progress
    PENDING = "Pending"  # nothing has been decided yet
    PLANNING = "Planning"  # a worker lists the files and cuts them into tasks
    PLANNED = "Planned"  # the tasks are durable
    PLAN_FAILED = "PlanFailed"  # the plan could not be made; the message has the worker's words
    RUNNING = "Running"  # tasks are queued or leased
    WORKER_NOT_FOUND = "WorkerNotFound"  # the ScanJob waits for routing.workerName, which takes no tasks now
    AGGREGATING = "Aggregating"  # all tasks have ended; the report is being written
    SUSPENDED = "Suspended"  # spec.suspend is true
    RESUMED = "Resumed"  # spec.suspend went back to false
    CANCELLED = "Cancelled"  # spec.cancel is true; partial results are kept
    # ends
    COMPLETED = "Completed"  # every task ran
    INCOMPLETE = "Incomplete"  # some tasks ended without an answer; the report names them
    TASKS_FAILED = "TasksFailed"  # at least one command task failed
    TIMED_OUT = "TimedOut"  # spec.timeoutSeconds passed
    QUEUE_TIMED_OUT = "QueueTimedOut"  # no worker took the first task within queueTimeoutSeconds
    STORED = "Stored"  # the report is durable
    REPORT_FAILED = "ReportFailed"  # the report could not be written
    # pools; BacklogHigh, TasksWaiting and WorkersIdle are the autoscaler's, in status.lastScale
    BACKLOG_HIGH = "BacklogHigh"  # more than scaleUpThreshold tasks waited for each worker
    TASKS_WAITING = "TasksWaiting"  # tasks waited, and no worker was wanted
    WORKERS_IDLE = "WorkersIdle"  # workers had nothing to do for scaleDownIdleSeconds
    COOLING_DOWN = "CoolingDown"  # the wanted number would change, but it changed less than ten seconds ago
    AT_MAXIMUM = "AtMaximum"  # more workers would be useful, and there are maxWorkers
    SCALE_FAILED = "ScaleFailed"  # replicas could not be written through /scale; the message says why
    POD_PER_TASK = "PodPerTask"  # isolation PerTask: workers come and go with the tasks
    WORKERS_READY = "WorkersReady"  # as many workers are ready as wanted
    SCALING_UP = "ScalingUp"  # fewer workers than wanted
    SCALING_DOWN = "ScalingDown"  # more workers than wanted
    STEADY = "Steady"  # nothing to start or stop
    WORKERS_BUSY = "WorkersBusy"  # draining workers still run tasks
    CRASH_LOOP = "CrashLoop"  # workers die soon after they start; starts are backed off
    START_FAILED = "StartFailed"  # a worker could not be started at all
    UNSCHEDULABLE = "Unschedulable"  # no node takes a worker's Pod; the message is the scheduler's
    IMAGE_UNAVAILABLE = "ImageUnavailable"  # a worker's image cannot be pulled; the message is the kubelet's
    BACKEND_OK = "BackendOK"  # the backend answered the last call
    BACKEND_ERROR = "BackendError"  # the backend refused or did not answer
    PENDING_TOO_LONG = "PendingTooLong"  # a worker has not begun for five minutes, for a reason not in this list
    SCALED_TO_ZERO = "ScaledToZero"  # no worker is wanted
    POOL_SUSPENDED = "PoolSuspended"  # the pool's spec.suspend: no worker is wanted, and its ScanJobs wait


class EventReason(StrEnum):
    """Reasons of Events on our objects (core/v1 Event.reason)."""

    ACCEPTED = "Accepted"  # the object will be acted on
    REFUSED = "Refused"  # it will not; the message says why and what to do
    PLANNED = "Planned"  # the tasks of a ScanJob are durable
    COMPLETED = "Completed"  # a ScanJob ran to its end
    FAILED = "Failed"  # a ScanJob ended without doing all that was asked
    CANCELLED = "Cancelled"  # a ScanJob was cancelled
    SUSPENDED = "Suspended"  # nothing new is started
    RESUMED = "Resumed"  # work goes on
    EXPIRED = "Expired"  # a ScanJob is deleted: ttlSecondsAfterFinished passed
    SCALED = "Scaled"  # the number of wanted workers changed
    WORKER_STARTED = "WorkerStarted"  # a worker was started
    WORKER_STOPPED = "WorkerStopped"  # a worker was stopped on purpose
    WORKER_FAILED = "WorkerFailed"  # a worker died or could not be started


class JobPhase(StrEnum):
    """ScanJob.status.phase; the last three are terminal."""

    PENDING = "Pending"  # no worker has begun
    PLANNING = "Planning"  # a worker lists the files and cuts them into tasks
    RUNNING = "Running"  # tasks are queued or leased
    AGGREGATING = "Aggregating"  # all tasks have ended; the report is being written
    SUCCEEDED = "Succeeded"  # every task ran; what they found is the verdict's business
    FAILED = "Failed"  # it ended without doing all that was asked
    CANCELLED = "Cancelled"  # it was cancelled; what is done is kept

    @property
    def terminal(self) -> bool:
        """True when nothing will change any more except deletion."""
        return self in (JobPhase.SUCCEEDED, JobPhase.FAILED, JobPhase.CANCELLED)


class Verdict(StrEnum):
    """ScanJob.status.verdict: the findings measured against spec.scan.failOn.

    `Incomplete` exists because a gate must not pass while a tool did not look: no finding was at or
    over failOn, and yet some task has no answer.
    """

    PENDING = "Pending"  # the job has not ended
    PASSED = "Passed"  # every task has an answer, and no finding is at or over failOn
    FAILED = "Failed"  # at least one finding is at or over failOn
    INCOMPLETE = "Incomplete"  # no finding is at or over failOn, but some task has no answer


class FailureClass(StrEnum):
    """Why an attempt ended without an answer; only `tool` is charged to spec.maxAttempts."""

    TOOL = "tool"  # the tool or command itself failed, timed out or broke a limit
    WORKER_LOST = "worker-lost"  # the worker stopped renewing or its process is gone
    DISRUPTED = "disrupted"  # the worker handed the lease back (drain, shutdown, eviction)
    UNSTARTED = "unstarted"  # it was leased ahead and handed back before it was begun: counts as nothing

    @property
    def charged(self) -> bool:
        """It uses up one of spec.maxAttempts."""
        return self is FailureClass.TOOL

    @property
    def lost(self) -> bool:
        """It counts towards the losses that end a task."""
        return self in (FailureClass.WORKER_LOST, FailureClass.DISRUPTED)


class Level(StrEnum):
    """Severity of a finding, in SARIF's words, weakest first."""

    NONE = "none"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"

    @property
    def rank(self) -> int:
        """0 for none up to 3 for error."""
        return list(Level).index(self)


GROUP = "mahavishnu.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"


class Label(StrEnum):
    """Labels and annotations that we put on objects of the cluster."""

    POOL = f"{GROUP}/pool"  # the WorkerPool of a worker's Pod; its workers' selector in status
    BUSY = f"{GROUP}/busy"  # "true" while a worker's Pod has work: its PodDisruptionBudget selects it
    REVISION = f"{GROUP}/revision"  # annotation: the digest of the pool's template that a Pod was made from
    ACCESS_KEY = f"{GROUP}/access-key-sha256"  # annotation: the SHA-256 of the key that a person shows the dispatcher
    SCAN_JOB_UID = f"{GROUP}/scanjob-uid"  # of a Job that brings the files of a ScanJob: which one
    TRY = f"{GROUP}/try"  # annotation of such a Job: which try it is, from 1
    CREATED_BY = f"{GROUP}/created-by"  # who asked for an object through the gateway; on a cluster: proven
    CREATED_BY_NAME = f"{GROUP}/created-by-name"  # annotation: the whole name of that user
    CLAIMED_BY = f"{GROUP}/claimed-by"  # who made an object on a cluster, as their client says; nothing proves it
    CALLER_KIND = f"{GROUP}/caller-kind"  # annotation: what kind of program asked for a ScanJob, in its own words
    PARENT_SESSION = f"{GROUP}/parent-session"  # annotation: the session of theirs that it belongs to
    WORKFLOW = f"{GROUP}/workflow"  # annotation: the workflow_id that a ScanJob's name was made from
    ASKED_WORKER_TYPE = f"{GROUP}/asked-worker-type"  # annotation: what pool_spawn was asked for
    WORKER = f"{GROUP}/worker"  # the one worker that a ScanJob of the gateway is for
    HELD_WORKERS = f"{GROUP}/held-workers"  # annotation: which workers worker_spawn gave to whom, as JSON
    NOTE = f"memory.{GROUP}/"  # annotations that begin so: notes of pool_store_memory, as JSON
    COMPONENT = "app.kubernetes.io/component"  # worker, operator or gateway
    MANAGED_BY = "app.kubernetes.io/managed-by"  # mahavishnu
