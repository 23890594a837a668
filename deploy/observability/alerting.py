"""Makes Prometheus's recording and alerting rules from the metric catalogue and thresholds.toml.

What an alert means for money or people, and what to do, stands in its runbook page: deploy/runbooks/NAME.md.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from contracts.envelope import Queue
from contracts.outcome import Outcome
from deploy.observability.expressions import (
    among,
    bucket_of,
    count_of,
    edge,
    equal,
    labelled,
    like,
    none_of,
    rate,
    risen,
    series,
    unlike,
)
from deploy.observability.thresholds import Thresholds
from workers import catalogue
from workers.catalogue import DEAD_LETTERS, MAIN

RECORDINGS_FILE, ALERTS_FILE = "rules/recordings.yml", "rules/alerts.yml"
#: The dashboards' uids, as an alert's annotation names the one to look at.
OVERVIEW, APPROVALS, DATABASE = "payments-overview", "payments-approvals", "payments-database"
#: The jobs of prometheus.yml: one for each role, and each must have a process that answers.
JOBS = ("payments-worker", "payments-relay", "payments-monitor", "payments-status")
_HEADER = (
    "# Generated from the metric catalogue: do not edit. Change thresholds.toml or alerting.py, then `make golden`.\n"
)
#: The look at the tables that serves the page and no alert.
COUNTS = "counts"
#: Wide enough that no text is folded: a folded expression reads badly in a diff.
_WIDTH = 10_000


@dataclass(frozen=True, slots=True)
class Alert:
    """One alerting rule; severity and patience come from the thresholds under its name.

    Attributes:
        name: as people are told, and as its runbook page is called.
        expr: what must hold.
        summary: one line, with values.
        description: what it means for money or people.
        dashboard: the uid of the dashboard to look at.
        specified: whether the service's specification asks for it.
    """

    name: str
    expr: str
    summary: str
    description: str
    dashboard: str = OVERVIEW
    specified: bool = False


@dataclass(frozen=True, slots=True)
class Objective:
    """A service level objective: how its bad share is recorded, and what is counted as all.

    Attributes:
        record: the recorded series' name without its window.
        bad: the bad share over a window, by job.
        all_of: how many there were over a window, by job.
        budget: which share may be bad.
        windows: over which windows the bad share is recorded.
    """

    record: str
    bad: Callable[[str], str]
    all_of: Callable[[str], str]
    budget: float
    windows: Sequence[str] = field(default=())

    def burning(self, t: Thresholds, burn: str, count_min: float) -> str:
        """Return the expression: the budget burns too fast over both windows, and there is enough to judge by."""
        limit = f"{t.number(f'burn.{burn}.rate'):g} * {self.budget:g}"
        long, short = _windows(t, burn)
        return (
            f"({self.record}{long} > {limit})\n"
            f"and ({self.record}{short} > {limit})\n"
            f"and on (job) ({self.all_of(long)} > {count_min:g})"
        )


def files() -> Mapping[str, str]:
    """Return both rule files by their path below this folder."""
    return generate(Thresholds.load())


def generate(t: Thresholds) -> Mapping[str, str]:
    """Return both rule files' text.

    Raises:
        ThresholdError: a threshold is missing or is not what it should be.
        NoSuchEdgeError: an objective's time is no edge of its histogram.
    """
    every = t.duration("groups.alerts_every")
    groups = [
        {"name": f"payments-{name}", "interval": every, "rules": [_rule(t, alert) for alert in alerts]}
        for name, alerts in _alerts(t).items()
    ]
    return {RECORDINGS_FILE: _yaml(_recordings(t)), ALERTS_FILE: _yaml(groups)}


# -- objectives


def _windows(t: Thresholds, burn: str) -> tuple[str, str]:
    return t.duration(f"burn.{burn}.long"), t.duration(f"burn.{burn}.short")


def _each_window(t: Thresholds, *burns: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(window for burn in burns for window in _windows(t, burn)))


def _work(t: Thresholds) -> Objective:
    windows = _each_window(t, "fast", "slow", "daily", "creeping")
    return _messages(t, "job:payments_slo_late:ratio_rate", "work", ("WorkCompleted",), windows)


def _commands(t: Thresholds) -> Objective:
    kinds = ("ApprovePayment", "RejectPayment")
    return _messages(t, "job:payments_slo_command_late:ratio_rate", "commands", kinds, _each_window(t, "fast", "slow"))


def _messages(t: Thresholds, record: str, slo: str, kinds: Sequence[str], windows: Sequence[str]) -> Objective:
    """Return the objective that messages of these kinds are done in time.

    One that comes again is not done yet. One that its producer sent malformed was never work: DeadLetters tells of it.
    """
    time = catalogue.CRITICAL_TIME
    these = among("message_type", kinds) if len(kinds) > 1 else equal("message_type", kinds[0])
    done = among("outcome", [Outcome.APPLIED, Outcome.IGNORED, Outcome.DUPLICATE, Outcome.REFUSED])
    ended = none_of("outcome", (Outcome.RETRY, Outcome.INVALID))
    within = equal("le", edge(time, t.seconds(f"slo.{slo}.within")))

    def bad(window: str) -> str:
        good = f"sum by (job) ({rate(bucket_of(time), window, these, done, within)})"
        return f"1 - (\n  {good}\n  / sum by (job) ({rate(count_of(time), window, these, ended)})\n)"

    def all_of(window: str) -> str:
        return f"sum by (job) ({risen(count_of(time), window, these, ended)})"

    return Objective(record, bad, all_of, _budget(t, slo), windows)


def _reads(t: Thresholds) -> Objective:
    """Return the objective of the answers about payments; a page that is left open would dilute it.

    Two metrics tell of it, and none whether an error was slow too. Counting both would count a slow 503 twice, so the
    larger number counts, for each process, route and method by itself: a lower bound, exact where one kind of trouble
    leads.
    """
    time, answers = catalogue.HTTP_DURATION, catalogue.HTTP_REQUESTS
    asked = like("route", "/payments/.*")
    within = equal("le", edge(time, t.seconds("slo.reads.within")))
    broken = among("status", [status for status in catalogue.STATUSES if status.startswith("5")])

    def bad(window: str) -> str:
        every = rate(count_of(time), window, asked)
        slow = f"({every} - ignoring (le) {rate(bucket_of(time), window, asked, within)})"
        errors = f"sum without (status) ({rate(answers.name, window, asked, broken)})"
        return f"sum by (job) (\n  (\n    {errors}\n    > {slow}\n  )\n  or {slow}\n)\n/ sum by (job) ({every})"

    def all_of(window: str) -> str:
        return f"sum by (job) ({risen(count_of(time), window, asked)})"

    record = "job:payments_slo_read_bad:ratio_rate"
    return Objective(record, bad, all_of, _budget(t, "reads"), _each_window(t, "fast", "slow"))


def _budget(t: Thresholds, slo: str) -> float:
    return round(1 - t.number(f"slo.{slo}.objective"), 9)


def _recordings(t: Thresholds) -> list[dict[str, Any]]:
    rules = [
        {"record": f"{objective.record}{window}", "expr": objective.bad(window)}
        for objective in (_work(t), _commands(t), _reads(t))
        for window in objective.windows
    ]
    return [{"name": "payments-slo", "interval": t.duration("groups.recordings_every"), "rules": rules}]


# -- alerts


def _alerts(t: Thresholds) -> Mapping[str, Sequence[Alert]]:
    return {
        "objectives": (*_work_alerts(t), *_command_alerts(t), *_read_alerts(t)),
        "approvals": (_fraud_score_rate(t), *_approval_backlog(t)),
        "payouts": (
            _failed_rate(t),
            _unknown_payout(t),
            _payouts_not_moving(t),
            _away(t, "ProviderAway", "provider"),
        ),
        "database": (
            _connection_errors(t),
            _pool_starved(t),
            _away(t, "DatabaseAway", "database"),
            _credentials_stale(t),
        ),
        "messages": (
            _dead_letters(t),
            _queue_age(t),
            _only_retries(t),
            _expiry_risk(t),
            _workers_stalled(t),
            _telemetry_missing(t),
            _queue_ages_missing(t),
            _tables_missing(t),
            _outbox_stuck(t),
            _outbox_rejected(t),
        ),
        "integrity": (*_audit_chain(t), *_invariants(t), _denials(t), _redactions(t)),
        "presence": (_role_missing(), _watchdog()),
    }


def _work_alerts(t: Thresholds) -> Iterable[Alert]:
    work, within = _work(t), t.duration("slo.work.within")
    late = "{{ $value | humanizePercentage }} of finished work"
    yield Alert(
        "SLOFastBurn",
        work.burning(t, "fast", t.number("alerts.SLOFastBurn.count_min")),
        f"{late} was not turned into payments within {within} over the last {_windows(t, 'fast')[0]}",
        "Vendors have finished jobs and their payments come late. Nothing is lost while messages come back.",
    )
    yield Alert(
        "SLOSlowBurn",
        work.burning(t, "slow", t.number("alerts.SLOSlowBurn.count_min")),
        f"{late} was not turned into payments within {within} over the last {_windows(t, 'slow')[0]}",
        "A steady part of the payments is created late: something is slow or fails again and again, without an outage.",
    )
    daily = work.burning(t, "daily", t.number("alerts.SLOBudgetDrain.daily_count_min"))
    creeping = work.burning(t, "creeping", t.number("alerts.SLOBudgetDrain.creeping_count_min"))
    yield Alert(
        "SLOBudgetDrain",
        f"({daily})\nor ({creeping})",
        f"{late} was late over a day or more: the month's error budget will not last",
        "No emergency: at this pace the promise to vendors for this month is broken before it ends.",
    )


def _command_alerts(t: Thresholds) -> Iterable[Alert]:
    commands, within = _commands(t), t.duration("slo.commands.within")
    late = "{{ $value | humanizePercentage }} of approvals and rejections"
    yield Alert(
        "CommandSLOFastBurn",
        commands.burning(t, "fast", t.number("alerts.CommandSLOFastBurn.count_min")),
        f"{late} took longer than {within} or failed over the last {_windows(t, 'fast')[0]}",
        "Dispatchers decide and see nothing happen. If they decide again, no harm comes of it: a person counts once.",
        APPROVALS,
    )
    yield Alert(
        "CommandSLOSlowBurn",
        commands.burning(t, "slow", t.number("alerts.CommandSLOSlowBurn.count_min")),
        f"{late} took longer than {within} or failed over the last {_windows(t, 'slow')[0]}",
        "A steady part of the decisions takes effect late, so that payouts behind them are late too.",
        APPROVALS,
    )


def _read_alerts(t: Thresholds) -> Iterable[Alert]:
    reads, within = _reads(t), t.duration("slo.reads.within")
    bad = "{{ $value | humanizePercentage }} of the answers about payments"
    yield Alert(
        "ReadSLOFastBurn",
        reads.burning(t, "fast", t.number("alerts.ReadSLOFastBurn.count_min")),
        f"{bad} were errors or slower than {within} over the last {_windows(t, 'fast')[0]}",
        "People cannot see payments. No money is touched: the endpoint only reads.",
    )
    yield Alert(
        "ReadSLOSlowBurn",
        reads.burning(t, "slow", t.number("alerts.ReadSLOSlowBurn.count_min")),
        f"{bad} were errors or slower than {within} over the last {_windows(t, 'slow')[0]}",
        "A steady part of the reads fails or is slow. No money is touched: the endpoint only reads.",
    )


def _fraud_score_rate(t: Thresholds) -> Alert:
    key, scores = "alerts.FraudScoreRateHigh", catalogue.FRAUD_SCORE
    window = t.duration(f"{key}.window")
    low = risen(bucket_of(scores), window, equal("le", edge(scores, t.number(f"{key}.score"))))
    scored = f"sum({risen(count_of(scores), window)})"
    return Alert(
        "FraudScoreRateHigh",
        f"(1 - sum({low}) / {scored} > {t.number(f'{key}.share_max'):g})\n"
        f"and ({scored} >= {t.number(f'{key}.count_min'):g})",
        f"{{{{ $value | humanizePercentage }}}} of the payments scored over the last {window} look like fraud",
        "Either somebody tries to be paid for work that was not done, or the scoring model has gone astray.",
        APPROVALS,
        specified=True,
    )


def _approval_backlog(t: Thresholds) -> Iterable[Alert]:
    yield Alert(
        "ApprovalBacklogAge",
        f"max({catalogue.PENDING_AGE.name}) > {t.seconds('alerts.ApprovalBacklogAge.age_max'):g}",
        "A payment has waited {{ $value | humanizeDuration }} for its approval",
        "A vendor has done the work and is not paid, since nobody has decided.",
        APPROVALS,
        specified=True,
    )
    key = "alerts.ApprovalBacklogGrowing"
    # The gauge counts by payer type: what waits is their sum, and of several monitors any one is right.
    waiting = f"sum(max by (payer_type) ({catalogue.PENDING.name}))"
    look = f"[{t.duration(f'{key}.window')}:{t.duration(f'{key}.step')}]"
    yield Alert(
        "ApprovalBacklogGrowing",
        f"{waiting} > {t.number(f'{key}.waiting_max'):g}\nand deriv({waiting}{look}) > 0",
        "{{ $value }} payments wait for approval, and they become more",
        "Payments are created faster than people decide on them: vendors will wait ever longer.",
        APPROVALS,
        specified=True,
    )


def _failed_rate(t: Thresholds) -> Alert:
    key, moves = "alerts.FailedRateHigh", catalogue.TRANSITIONS.name
    window, few = t.duration(f"{key}.window"), t.duration(f"{key}.few_window")

    def failed(over: str) -> str:
        return f"sum({risen(moves, over, equal('to_status', 'failed'))})"

    def ended(over: str) -> str:
        return f"sum({risen(moves, over, among('to_status', ('failed', 'completed')))})"

    return Alert(
        "FailedRateHigh",
        f"(({failed(window)} / {ended(window)} > {t.number(f'{key}.share_max'):g})\n"
        f"and ({ended(window)} >= {t.number(f'{key}.count_min'):g}))\n"
        f"or (({failed(few)} / {ended(few)} > {t.number(f'{key}.few_share_max'):g})\n"
        f"and ({failed(few)} >= {t.number(f'{key}.few_count_min'):g}))",
        "The provider has refused {{ $value | humanizePercentage }} of the payouts for good,"
        f" over the last {window} or {few}",
        "Vendors are not paid and will not be without somebody's doing: `failed` is final. No money has moved.",
    )


def _unknown_payout(t: Thresholds) -> Alert:
    limit = t.seconds("alerts.UnknownPayoutOld.age_max")
    return Alert(
        "UnknownPayoutOld",
        f"max by (provider) ({catalogue.UNKNOWN_ATTEMPTS_AGE.name}) > {limit:g}",
        "For {{ $value | humanizeDuration }} nobody has known whether a payout moved money ({{ $labels.provider }})",
        "A vendor may or may not have been paid. It is looked up again by itself and is never sent twice.",
    )


def _payouts_not_moving(t: Thresholds) -> Alert:
    limit = t.seconds("alerts.PayoutsNotMoving.age_max")
    return Alert(
        "PayoutsNotMoving",
        f"max by (reason) ({catalogue.PAYOUTS_WAITING_AGE.name}) > {limit:g}",
        "A payment that is to be paid out has not moved for {{ $value | humanizeDuration }}: {{ $labels.reason }}",
        "A vendor's payment is approved and not paid, and nothing is under way for it. It is not paid twice.",
        APPROVALS,
    )


def _away(t: Thresholds, name: str, dependency: str) -> Alert:
    meaning = {
        "provider": "No payout is submitted; payments stay `processing`. Events and approvals go on; no money is lost.",
        "database": "No message is received and no payment changes. Messages wait in their queues; nothing is lost.",
    }[dependency]
    return Alert(
        name,
        _is_away(t, name, dependency),
        f"{{{{ $value | humanizePercentage }}}} of the workers get no answer from the {dependency}",
        meaning,
        DATABASE if dependency == "database" else OVERVIEW,
    )


def _is_away(t: Thresholds, name: str, dependency: str) -> str:
    """Return the expression of one number without labels: so many workers find the dependency away that it is."""
    breakers = series(catalogue.BREAKER_OPEN.name, equal("dependency", dependency))
    return f"avg({breakers}) >= {t.number(f'alerts.{name}.share_max'):g}"


def _connection_errors(t: Thresholds) -> Alert:
    key = "alerts.DbConnectionErrors"
    window = t.duration(f"{key}.window")
    return Alert(
        "DbConnectionErrors",
        f"sum by (kind) ({risen(catalogue.CONNECTION_ERRORS.name, window)}) > {t.number(f'{key}.count_max'):g}",
        f"{{{{ $value | humanize }}}} database connections failed over the last {window}: {{{{ $labels.kind }}}}",
        "Messages come back and wait. Nothing is half done: a transaction that loses its connection has not happened.",
        DATABASE,
        specified=True,
    )


def _pool_starved(t: Thresholds) -> Alert:
    limit = t.number("alerts.DbPoolStarved.waiting_max")
    return Alert(
        "DbPoolStarved",
        f"max by (job, instance) ({catalogue.POOL_WAITING.name}) > {limit:g}\n"
        f"and on (job, instance) max by (job, instance) ({catalogue.POOL_AVAILABLE.name}) == 0",
        "{{ $value }} requests wait for a database connection on {{ $labels.instance }}, and none is free",
        "Work is slow and soon fails for now: what waits too long gives up and comes again.",
        DATABASE,
    )


def _credentials_stale(t: Thresholds) -> Alert:
    return Alert(
        "CredentialsStale",
        f"max by (job, instance) ({catalogue.CREDENTIALS_AGE.name}) > {t.seconds('alerts.CredentialsStale.age_max'):g}",
        "{{ $labels.job }} ({{ $labels.instance }}) uses database credentials that it fetched"
        " {{ $value | humanizeDuration }} ago",
        "Nothing fails yet. After the next rotation that process can open no new connection.",
        DATABASE,
    )


def _dead_letters(t: Thresholds) -> Alert:
    dead = series(catalogue.QUEUE_MESSAGES.name, equal("kind", DEAD_LETTERS), equal("state", "visible"))
    return Alert(
        "DeadLetters",
        f"max by (queue) ({dead}) > {t.number('alerts.DeadLetters.count_max'):g}",
        "{{ $value }} messages of {{ $labels.queue }} could not be handled and wait for somebody",
        "Work, a decision or a payout order stands still until a person puts it back. It is kept for 14 days.",
    )


def _ours() -> str:
    """Return the matcher of the queues that our workers read: what others read is not ours to be woken for."""
    return among("queue", Queue)


def _queue_age(t: Thresholds) -> Alert:
    oldest = series(catalogue.QUEUE_AGE.name, equal("kind", MAIN), _ours())
    # Nobody receives payouts while the provider is away, and ProviderAway tells of that.
    away = f"avg({series(catalogue.BREAKER_OPEN.name, equal('dependency', 'provider'))})"
    share = f"{t.number('alerts.ProviderAway.share_max'):g}"
    return Alert(
        "QueueAgeHigh",
        f"max by (queue) ({oldest}) > {t.seconds('alerts.QueueAgeHigh.age_max'):g}\n"
        f"unless on (queue) {labelled(f'{away} >= {share}', 'queue', Queue.PAYOUTS)}",
        "The oldest message of {{ $labels.queue }} has waited {{ $value | humanizeDuration }}",
        "Work, decisions or payouts are late. A message is kept for 4 days, so nothing is lost yet.",
    )


def _only_retries(t: Thresholds) -> Alert:
    key = "alerts.OnlyRetries"
    window = t.duration(f"{key}.window")
    # What is put back while a breaker is open has an alert of its own.
    again = risen(catalogue.RETRIES.name, window, unlike("reason", "dependency_away"))
    ended = risen(catalogue.PROCESSED.name, window, unlike("outcome", Outcome.RETRY))
    return Alert(
        "OnlyRetries",
        f"sum by (queue) ({again}) > {t.number(f'{key}.count_max'):g}\nunless on (queue) sum by (queue) ({ended}) > 0",
        f"{{{{ $value | humanize }}}} times in {window} a message of {{{{ $labels.queue }}}} was put back,"
        " and none was finished",
        "That queue gets nothing done. After ten receives, about half an hour, each of its messages is a dead letter.",
    )


def _expiry_risk(t: Thresholds) -> Alert:
    key = "alerts.MessageExpiryRisk"
    limit = t.number(f"{key}.share_max") * t.seconds(f"{key}.kept_for")
    return Alert(
        "MessageExpiryRisk",
        f"max by (queue) ({series(catalogue.QUEUE_AGE.name, equal('kind', DEAD_LETTERS))}) > {limit:g}",
        "A dead letter of {{ $labels.queue }} is {{ $value | humanizeDuration }} old and will be deleted by its queue",
        "When it expires its body is gone for good: only its sender could send it again.",
    )


def _workers_stalled(t: Thresholds) -> Alert:
    key = "alerts.WorkersStalled"
    waiting = series(catalogue.QUEUE_MESSAGES.name, equal("kind", MAIN), equal("state", "visible"), _ours())
    handled = risen(catalogue.PROCESSED.name, t.duration(f"{key}.window"))
    provider_away = _is_away(t, "ProviderAway", "provider")
    return Alert(
        "WorkersStalled",
        f"max by (queue) ({waiting}) > {t.number(f'{key}.waiting_max'):g}\n"
        f"unless on (queue) sum by (queue) ({handled}) > 0\n"
        # Where workers stop on purpose DatabaseAway or ProviderAway tells of it: of all queues, or of the payouts.
        f"unless on () {_is_away(t, 'DatabaseAway', 'database')}\n"
        f'unless on (queue) label_replace({provider_away}, "queue", "{Queue.PAYOUTS}", "", "")',
        "{{ $value }} messages wait in {{ $labels.queue }}, and no worker handles any",
        "That part of the service stands still. Messages are kept for 4 days; nothing is lost yet.",
    )


def _telemetry_missing(t: Thresholds) -> Alert:
    last = f"max by (queue, kind) ({catalogue.QUEUE_LAST_SUCCESS.name})"
    return Alert(
        "QueueTelemetryMissing",
        f"absent({catalogue.QUEUE_MESSAGES.name})\n"
        f"or time() - {last} > {t.seconds('alerts.QueueTelemetryMissing.age_max'):g}\n"
        # A queue that has never answered has no time of its own: it is missed by counting the others.
        f"or count({last}) < {len(catalogue.WATCHED_QUEUES)}",
        "The depth of {{ with $labels.queue }}{{ . }} ({{ $labels.kind }}){{ else }}one queue or all{{ end }}"
        " is not known any more",
        "Alerts about queues are blind: dead letters and stalled workers would not be noticed.",
    )


def _queue_ages_missing(t: Thresholds) -> Alert:
    answered, limit = catalogue.QUEUE_AGE_LAST_SUCCESS.name, t.seconds("alerts.QueueAgeTelemetryMissing.age_max")
    return Alert(
        "QueueAgeTelemetryMissing",
        f"absent({answered})\nor time() - max({answered}) > {limit:g}",
        "CloudWatch does not tell the ages of messages any more",
        "QueueAgeHigh and MessageExpiryRisk are blind: a message could grow old, or a dead letter expire, unseen.",
    )


def _tables_missing(t: Thresholds) -> Alert:
    # How many payments there are is for the page alone: no alert goes blind with it.
    looks = [look for look in catalogue.LOOKS if look != COUNTS]
    seen = series(catalogue.TABLES_LAST_SUCCESS.name, unlike("look", COUNTS))
    last = f"max by (look) ({seen})"
    return Alert(
        "TableTelemetryMissing",
        f"absent({seen})\n"
        f"or time() - {last} > {t.seconds('alerts.TableTelemetryMissing.age_max'):g}\n"
        # A look that has never succeeded has no time of its own: it is missed by counting the others.
        f"or count({last}) < {len(looks)}",
        "What the tables say of {{ with $labels.look }}{{ . }}{{ else }}one look or all{{ end }} is not known any more",
        "Alerts about the outbox, approvals and unknown payouts are blind: they would not fire.",
    )


def _outbox_rejected(t: Thresholds) -> Alert:
    return Alert(
        "OutboxRejected",
        f"max({catalogue.OUTBOX_REJECTED.name}) > {t.number('alerts.OutboxRejected.rows_max'):g}",
        "{{ $value }} events or orders were refused for good by their receiver",
        "Each is something that its receiver has not been told and will not be by itself. The payment is as it was.",
    )


def _outbox_stuck(t: Thresholds) -> Alert:
    return Alert(
        "OutboxStuck",
        f"max({catalogue.OUTBOX_AGE.name}) > {t.seconds('alerts.OutboxStuck.age_max'):g}",
        "An event or order has waited {{ $value | humanizeDuration }} to be sent",
        "Others do not learn what happened, and payouts that were approved are not ordered. Rows wait; none is lost.",
    )


def _audit_chain(t: Thresholds) -> Iterable[Alert]:
    key, verified = "alerts.AuditChainUnverified", catalogue.CHAIN_VERIFIED.name
    yield Alert(
        "AuditChainBroken",
        f"max({catalogue.BROKEN_LINKS.name}) > {t.number('alerts.AuditChainBroken.broken_max'):g}",
        "The audit chains of {{ $value }} payments are broken",
        "Somebody may have changed history or an amount past the service. Treat it as tampering until it is explained.",
    )
    yield Alert(
        "AuditChainUnverified",
        f"(time() - max({verified}) > {t.seconds(f'{key}.verified_within'):g})\n"
        f"or absent_over_time({series(verified, window=t.duration(f'{key}.unsaid_for'))})",
        "The audit chains were last verified too long ago, or nobody says when",
        "A changed history would go unnoticed. Nothing says that there is one.",
    )


def _invariants(t: Thresholds) -> Iterable[Alert]:
    violations = f"max by (invariant) ({catalogue.VIOLATIONS.name})"
    yield Alert(
        "InvariantViolated",
        f"{violations} > {t.number('alerts.InvariantViolated.rows_max'):g}",
        "{{ $value }} rows break the invariant {{ $labels.invariant }}",
        "The books contradict themselves: a vendor may have been paid twice, or the wrong amount.",
    )
    checked, limit = catalogue.INVARIANTS_CHECKED.name, t.seconds("alerts.InvariantsUnchecked.checked_within")
    yield Alert(
        "InvariantsUnchecked",
        f"absent({checked})\nor time() - max({checked}) > {limit:g}",
        "The invariants of the books have not been checked in time",
        "A contradiction in the books would go unnoticed. The database's own guards still hold.",
    )


def _denials(t: Thresholds) -> Alert:
    key = "alerts.CommandDenialsSpike"
    window = t.duration(f"{key}.window")
    denied = risen(catalogue.DECISIONS.name, window, equal("decision", "denied"))
    return Alert(
        "CommandDenialsSpike",
        f"sum by (reason) ({denied}) > {t.number(f'{key}.count_max'):g}",
        f"{{{{ $value | humanize }}}} commands were denied over the last {window}: {{{{ $labels.reason }}}}",
        "Somebody tries what they may not, or an application has lost its rights. What was denied has changed nothing.",
        APPROVALS,
    )


def _redactions(t: Thresholds) -> Alert:
    key = "alerts.RedactionHappened"
    taken_out = risen(catalogue.REDACTIONS.name, t.duration(f"{key}.window"))
    return Alert(
        "RedactionHappened",
        f"sum by (detector) ({taken_out}) > {t.number(f'{key}.count_max'):g}",
        "The tripwire took something out of a log line that looked like: {{ $labels.detector }}",
        "Personal data or a secret was about to be logged. It was not; the place that tried is a bug.",
    )


def _role_missing() -> Alert:
    # `absent` of a comparison has no labels, so each gets the job that it is about.
    gone = [labelled(f"absent({series('up', equal('job', job))} == 1)", "job", job) for job in JOBS]
    return Alert(
        "RoleMissing",
        "\nor ".join(gone),
        "No process of {{ $labels.job }} answers Prometheus",
        "A part of the service has ended or cannot be seen: what it does is not done, or goes on unwatched.",
    )


def _watchdog() -> Alert:
    return Alert(
        "Watchdog",
        "vector(1)",
        "Alerting works: this alert always fires",
        "Nothing is wrong. Something outside must notice when this is not heard any more: then no alert is.",
    )


# -- as files


def _rule(t: Thresholds, alert: Alert) -> dict[str, Any]:
    key = f"alerts.{alert.name}"
    patience = t.duration(f"{key}.for")
    labels = {"severity": t.severity(f"{key}.severity")} | ({"specified": "true"} if alert.specified else {})
    return {
        "alert": alert.name,
        "expr": alert.expr,
        **({} if patience == "0s" else {"for": patience}),
        "labels": labels,
        "annotations": {
            "summary": alert.summary,
            "description": alert.description,
            "runbook_url": f"{t.text('runbook_base')}/{alert.name}.md",
            "dashboard": alert.dashboard,
        },
    }


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as such."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _yaml(groups: list[dict[str, Any]]) -> str:
    document = {"groups": groups}
    return _HEADER + yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=_WIDTH, allow_unicode=True)
