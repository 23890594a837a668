"""The three Grafana dashboards: how the service is, approvals and money, the database and the workers.

Every panel says in a sentence what it shows and when to worry. The tests hold that each metric of the catalogue is
shown somewhere.
"""

from collections.abc import Mapping

from contracts.lifecycle import Status
from contracts.money import EXPONENTS
from contracts.outcome import Outcome
from deploy.observability.grafana import (
    AMBER,
    BLUE,
    GREEN,
    GREY,
    PURPLE,
    RED,
    TARGETS,
    Dashboard,
    Query,
    Row,
    bars,
    grown,
    having,
    heat,
    highest,
    json_of,
    lacking,
    lines,
    mean,
    numbers,
    over,
    quantile,
    rate,
    select,
    table,
)
from deploy.observability.thresholds import Thresholds
from workers import catalogue as known
from workers.catalogue import Metric

SECONDS, SHARE, COUNT = "s", "percentunit", "short"
MESSAGES, REQUESTS, EACH_SECOND, EACH_MINUTE = "mps", "reqps", "cps", "cpm"
#: Amounts of money in major units, with the separators of the reader's own language.
AMOUNT, AMOUNT_EACH_HOUR = "locale", "suffix: / h"

#: Made by the alert rules: the share of finished work that was too late, over these windows.
SLO_LATE: Mapping[str, str] = {
    window: f"job:payments_slo_late:ratio_rate{window}" for window in ("5m", "30m", "1h", "6h")
}
#: The numbers of the rules: a panel turns red where its alert calls.
_LIMITS = Thresholds.load()
#: So many may be late, and so many times faster than that a month's budget is gone in days.
WORK_BUDGET, READ_BUDGET = (round(1 - _LIMITS.number(f"slo.{slo}.objective"), 9) for slo in ("work", "reads"))
SLOW_BURN, FAST_BURN = (_LIMITS.number(f"burn.{burn}.rate") for burn in ("slow", "fast"))

MAIN, DEAD = having("kind", known.MAIN), having("kind", known.DEAD_LETTERS)
VISIBLE, IN_FLIGHT, DELAYED = (having("state", state) for state in known.QUEUE_STATES)
#: What came back to its queue has not ended.
ENDED = lacking("outcome", Outcome.RETRY)
#: Requests of monitoring, which would drown those of people.
FOR_PEOPLE = lacking("route", "/health", "/ready", "/metrics")
DAY, HOUR = 86400, 3600
OUTCOME_COLOURS = {
    "^applied$": GREEN,
    "^ignored$": BLUE,
    "^duplicate$": GREY,
    "^refused$": PURPLE,
    "^retry$": "yellow",
    "^invalid$": AMBER,
    "^fault$": RED,
}


def _quantiles(metric: Metric, *conditions: str) -> tuple[Query, ...]:
    """Return the median and the two quantiles that tell how bad it gets."""
    return tuple(Query(quantile(share, metric, "", *conditions), f"p{share * 100:.0f}") for share in (0.5, 0.95, 0.99))


def _age(metric: Metric, by: str = "") -> str:
    """Return how many seconds ago the monitor did something."""
    return f"time() - {highest(metric, by)}"


# -- the overview

_QUEUES = Row(
    "Queues",
    (
        lines(
            "Messages waiting",
            "Messages that wait in each queue, about. Worry when a line rises and does not come down: then more comes"
            " in than is handled. The approval queue is read by the back office, not by us.",
            COUNT,
            Query(highest(known.QUEUE_MESSAGES, "queue", MAIN, VISIBLE), "{{queue}}"),
            width=12,
        ),
        numbers(
            "Dead letters",
            "Messages that were given up, by the queue that they came from. Worry about any: `payments failures` says"
            " why, `payments replay` puts one back. Never the console's redrive (runbook DeadLetters).",
            COUNT,
            Query(highest(known.QUEUE_MESSAGES, "queue", DEAD, VISIBLE), "{{queue}}"),
            steps=((1, RED),),
        ),
        numbers(
            "Age of these figures",
            "How long ago the queue that is furthest behind was last asked for its depth. Worry above five minutes: the"
            " figures to the left then tell of the past.",
            SECONDS,
            Query(over("max", "", _age(known.QUEUE_LAST_SUCCESS, "queue kind")), "oldest figure"),
            steps=((60, AMBER), (300, RED)),
        ),
        table(
            "Alerts that fire",
            "The alerts that fire now, by Prometheus's own account, without Watchdog, which always does. Worry unless"
            " the table is empty; each alert has its runbook.",
            COUNT,
            Query('max by (alertname, severity) (ALERTS{alertstate="firing",alertname!="Watchdog"})'),
            {"alertname": "Alert", "severity": "Severity", "Value": "Firing"},
            width=12,
        ),
        lines(
            "In flight and delayed",
            "Messages that are being handled or were put back for later: back-off works by visibility, so both show as"
            " in flight. `delayed` stays 0. Worry when in flight stays high while nothing is finished.",
            COUNT,
            Query(highest(known.QUEUE_MESSAGES, "queue", MAIN, IN_FLIGHT), "{{queue}} in flight"),
            Query(highest(known.QUEUE_MESSAGES, "queue", MAIN, DELAYED), "{{queue}} delayed"),
            width=12,
        ),
        lines(
            "Oldest message",
            "Age of the oldest message in each queue, by CloudWatch; nothing where CloudWatch does not say. Worry above"
            " two minutes.",
            SECONDS,
            Query(highest(known.QUEUE_AGE, "queue", MAIN), "{{queue}}"),
            steps=((120, RED),),
        ),
        lines(
            "Oldest dead letter",
            "Age of the oldest dead letter. A queue forgets it after 14 days: worry above seven.",
            SECONDS,
            Query(highest(known.QUEUE_AGE, "queue", DEAD), "{{queue}}"),
            steps=((7 * DAY, RED),),
        ),
        numbers(
            "Age of CloudWatch's answer",
            "How long ago CloudWatch last answered with the ages of messages. Worry above fifteen minutes: the two"
            " lines of ages are empty or old then.",
            SECONDS,
            Query(_age(known.QUEUE_AGE_LAST_SUCCESS), "ago"),
            width=8,
            steps=((300, AMBER), (_LIMITS.seconds("alerts.QueueAgeTelemetryMissing.age_max"), RED)),
        ),
        numbers(
            "Age of the looks at the tables",
            "How long ago the tables were last looked at with success, by what was looked for. Worry above five"
            " minutes: figures of the outbox, of approvals and of payouts tell of the past.",
            SECONDS,
            Query(_age(known.TABLES_LAST_SUCCESS, "look"), "{{look}}"),
            width=16,
            steps=((60, AMBER), (_LIMITS.seconds("alerts.TableTelemetryMissing.age_max"), RED)),
        ),
        numbers(
            "Breakers",
            "Whether a worker has stopped receiving since a dependency is away. Worry when one stays open: nothing that"
            " leans on it is handled until it closes.",
            COUNT,
            Query(highest(known.BREAKER_OPEN, "dependency"), "{{dependency}}"),
            width=8,
            steps=((1, RED),),
            words={0: "closed", 1: "open"},
        ),
    ),
)

_MESSAGES = Row(
    "Messages",
    (
        lines(
            "Throughput by message type",
            "Messages handled in a second. Worry when it falls to nothing while messages wait.",
            MESSAGES,
            Query(rate(known.PROCESSED, "message_type"), "{{message_type}}"),
            width=12,
            stacked=True,
        ),
        lines(
            "Throughput by outcome",
            "The same, by how handling ended. Worry about `fault`, a bug of ours, and `invalid`, a sender's mistake;"
            " a hill of `retry` says that something is away.",
            MESSAGES,
            Query(rate(known.PROCESSED, "outcome"), "{{outcome}}"),
            width=12,
            stacked=True,
            colours=OUTCOME_COLOURS,
        ),
        lines(
            "Critical time",
            "From the first sending of a message to the end of its handling: what a sender feels. Worry when p99 nears"
            " a minute, the promise for finished work.",
            SECONDS,
            *_quantiles(known.CRITICAL_TIME, ENDED),
            steps=((60, RED),),
        ),
        lines(
            "Critical time by message type, p95",
            "The same for each type of message. Worry when one type leaves the others behind: it has a trouble of its"
            " own.",
            SECONDS,
            Query(quantile(0.95, known.CRITICAL_TIME, "message_type", ENDED), "{{message_type}}"),
        ),
        lines(
            "Late work",
            "The share of finished work that was not handled within a minute, over four windows. One in a thousand is"
            " allowed: worry at the dashed lines, where the alerts call.",
            SHARE,
            *(
                Query(f"max by (job) ({name}{{{TARGETS[0]}}})", f"in {window}, {{{{job}}}}")
                for window, name in SLO_LATE.items()
            ),
            steps=((SLOW_BURN * WORK_BUDGET, AMBER), (FAST_BURN * WORK_BUDGET, RED)),
        ),
        lines(
            "Retries by reason",
            "Messages left in their queue to come again. A few `not_yet` are normal; worry when a reason stays up for"
            " minutes, and about any `fault`.",
            MESSAGES,
            Query(rate(known.RETRIES, "reason"), "{{reason}}"),
            stacked=True,
            colours={"^fault$": RED},
        ),
        lines(
            "Wait in the queue, p95",
            "From the first sending to the beginning of handling. Worry when it rises while threads are idle: then"
            " nobody receives.",
            SECONDS,
            Query(quantile(0.95, known.WAIT, "queue", ENDED), "{{queue}}"),
        ),
        lines(
            "Invalid and faulty, by message type",
            "Messages that could not be read, and those that met a bug. Each ends as a dead letter: worry about every"
            " one.",
            MESSAGES,
            Query(
                rate(known.PROCESSED, "message_type outcome", having("outcome", Outcome.INVALID, Outcome.FAULT)),
                "{{message_type}} {{outcome}}",
            ),
        ),
    ),
)

_OUTBOX = Row(
    "Outbox and payouts",
    (
        lines(
            "Outbox rows to send",
            "Events and orders that are due and not yet sent. Worry when it does not come back to zero: the relay is"
            " down, or what it sends to.",
            COUNT,
            Query(highest(known.OUTBOX_PENDING), "due"),
            width=5,
        ),
        lines(
            "Outbox lag",
            "Age of the oldest event that is due and not yet sent. Worry above two minutes: others do not hear what"
            " happened.",
            SECONDS,
            Query(highest(known.OUTBOX_AGE), "oldest"),
            width=5,
            steps=((120, RED),),
        ),
        lines(
            "Events sent",
            "Outbox rows by what became of sending them. `failed` is tried again; worry about `rejected`: that event"
            " is not taken as it is.",
            EACH_SECOND,
            Query(rate(known.PUBLISHED, "destination result"), "{{destination}} {{result}}"),
            width=6,
            colours={"rejected$": RED, "failed$": AMBER},
        ),
        numbers(
            "Outbox rows rejected",
            "Events and orders that their receiver refuses for good: it has not been told, and nobody sends them"
            " again. Worry above 0: each one is a bug.",
            COUNT,
            Query(highest(known.OUTBOX_REJECTED), "rejected"),
            width=4,
            steps=((1, RED),),
        ),
        numbers(
            "Payouts of unknown outcome",
            "Payout attempts of which nobody knows yet whether money moved. They are looked up by themselves; worry"
            " when the number stays.",
            COUNT,
            Query(highest(known.UNKNOWN_ATTEMPTS, "provider"), "{{provider}}"),
            width=4,
            steps=((1, AMBER), (10, RED)),
        ),
    ),
)

_PROCESSES = Row(
    "Processes",
    (
        table(
            "Processes by version",
            "How many processes of each role run which version. Two versions are normal during a deployment; worry when"
            " they stay.",
            COUNT,
            Query(over("count", "role version commit", select(known.INFO))),
            {"role": "Role", "version": "Version", "commit": "Commit", "Value": "Processes"},
        ),
        lines(
            "Processes by role",
            "How many processes of each role answer. Worry when a line steps down and nobody deployed.",
            COUNT,
            Query(over("count", "role", select(known.INFO)), "{{role}}"),
            width=6,
        ),
        numbers(
            "Targets that do not answer",
            "Processes that Prometheus knows and cannot read. Worry above 0: such a process is gone, or hangs.",
            COUNT,
            Query(f"count(up{{{','.join(TARGETS)}}} == 0) or vector(0)", "silent"),
            width=6,
            steps=((1, RED),),
        ),
        numbers(
            "Shutdowns",
            "How processes ended in the time shown. Worry about `forced`: such a process was cut off in the middle; a"
            " worker's messages came again.",
            COUNT,
            Query(over("max", "role result", f"increase({select(known.SHUTDOWNS)}[$__range])"), "{{role}} {{result}}"),
            width=3,
        ),
    ),
)

OVERVIEW = Dashboard(
    "payments-overview",
    "Payments: overview",
    "Is the service well: queues, times, retries, outbox, payouts, processes.",
    (_QUEUES, _MESSAGES, _OUTBOX, _PROCESSES),
)

# -- approvals and money

_APPROVALS = Row(
    "Approvals",
    (
        lines(
            "Payments that wait for approval",
            "By who pays. Worry when it grows all day: the back office does not keep up, or does not see them.",
            COUNT,
            Query(highest(known.PENDING, "payer_type"), "{{payer_type}}"),
        ),
        lines(
            "Longest wait for approval",
            "Age of the payment that has waited longest. Worry above four hours: a vendor waits for its money.",
            SECONDS,
            Query(highest(known.PENDING_AGE, "payer_type"), "{{payer_type}}"),
            steps=((4 * HOUR, RED),),
        ),
        numbers(
            "Mean approval time",
            "Mean time from creation to decision, of the decisions in the time shown. Worry when it is far from what"
            " people are used to.",
            SECONDS,
            Query(
                f"{grown(known.APPROVAL_DURATION, 'decision', suffix='_sum')}"
                f" / {grown(known.APPROVAL_DURATION, 'decision', suffix='_count')} >= 0",
                "{{decision}}",
            ),
            width=8,
            steps=((4 * HOUR, AMBER), (DAY, RED)),
        ),
        lines(
            "Mean approval time by payer",
            "The same over time, by who pays. Worry when the back office's line climbs from day to day.",
            SECONDS,
            Query(mean(known.APPROVAL_DURATION, "payer_type decision"), "{{payer_type}} {{decision}}"),
            width=12,
        ),
        lines(
            "Approval time, p50 and p95",
            "Half of all decisions, and all but one in twenty, were made within this time. Worry when p95 runs away"
            " from p50: some payments lie where nobody looks.",
            SECONDS,
            Query(quantile(0.5, known.APPROVAL_DURATION, "decision"), "{{decision}} p50"),
            Query(quantile(0.95, known.APPROVAL_DURATION, "decision"), "{{decision}} p95"),
            width=12,
        ),
    ),
)


def _in_major_units(expression: str) -> tuple[Query, ...]:
    """Return the expression of amounts by currency in major units: one query for each number of decimals.

    Args:
        expression: in minor units; `%s` stands for the condition on the currency.
    """
    found = []
    for exponent in sorted(set(EXPONENTS.values()), reverse=True):
        currencies = having("currency", *(name for name, decimals in EXPONENTS.items() if decimals == exponent))
        found.append(Query(f"{expression % currencies} / {10**exponent} > 0", "{{currency}}"))
    return tuple(found)


_CREATION = Row(
    "Creation",
    (
        lines(
            "Payments created, by source",
            "Payments created in a minute. Worry when `work_completed` falls to nothing by day: the events do not reach"
            " us.",
            EACH_MINUTE,
            Query(f"60 * {rate(known.CREATED, 'source')}", "{{source}}"),
            stacked=True,
        ),
        lines(
            "Payments created, by payer",
            "The same by who pays. Worry when the mix changes and nobody knows why.",
            EACH_MINUTE,
            Query(f"60 * {rate(known.CREATED, 'payer_type')}", "{{payer_type}}"),
            stacked=True,
        ),
        bars(
            "Payments created, by currency",
            "Payments created in the time shown, by currency; those without any are left out. Worry about a currency"
            " that you do not do business in.",
            COUNT,
            Query(f"{grown(known.CREATED, 'currency')} > 0", "{{currency}}"),
        ),
        lines(
            "Amounts created in an hour",
            "Sum of the amounts, in whole units of each currency (dollars, not cents). Worry about a cliff or a spike:"
            " either prices or volumes are wrong.",
            AMOUNT_EACH_HOUR,
            *_in_major_units(f"{HOUR} * {rate(known.CREATED_AMOUNT, 'currency', '%s')}"),
            width=12,
        ),
        bars(
            "Amounts created",
            "Sum of the amounts in the time shown, in whole units of each currency. Worry when it is not what the"
            " business expects; currencies do not compare with one another.",
            AMOUNT,
            *_in_major_units(grown(known.CREATED_AMOUNT, "currency", "%s")),
            width=12,
        ),
    ),
)

_TO_AN_END = having("from_status", Status.PROCESSING), having("to_status", Status.FAILED, Status.COMPLETED)
_FAILED = having("from_status", Status.PROCESSING), having("to_status", Status.FAILED)

_LIFECYCLE = Row(
    "Lifecycle",
    (
        lines(
            "Changes of status",
            "Changes of status in a minute. Worry when payments enter `processing` and none leaves it.",
            EACH_MINUTE,
            Query(f"60 * {rate(known.TRANSITIONS, 'from_status to_status')} > 0", "{{from_status}} → {{to_status}}"),
        ),
        lines(
            "Failed rate",
            "Of the payouts that came to an end, the share that the provider refused. Worry above two in a hundred.",
            SHARE,
            Query(f"{rate(known.TRANSITIONS, '', *_FAILED)} / {rate(known.TRANSITIONS, '', *_TO_AN_END)}", "failed"),
            steps=((0.02, RED),),
            colours={"failed": RED},
        ),
        lines(
            "Changes of status, by who caused them",
            "By people, by administrators, by the service itself. Worry when administrators do what people did before.",
            EACH_MINUTE,
            Query(f"60 * {rate(known.TRANSITIONS, 'actor_kind')}", "{{actor_kind}}"),
            stacked=True,
        ),
    ),
)

_COMMANDS = Row(
    "Commands",
    (
        lines(
            "Decisions on commands",
            "Commands in a minute by what was decided. Worry when `denied` or `stale` outgrow `accepted`.",
            EACH_MINUTE,
            Query(f"60 * {rate(known.DECISIONS, 'decision')}", "{{decision}}"),
            stacked=True,
            colours={"^accepted$": GREEN, "^denied$": RED, "^stale$": GREY, "^refused$": PURPLE},
        ),
        lines(
            "Denied, by reason",
            "Commands whose sender may not do that. A few are mistakes; worry about a burst: somebody tries doors.",
            EACH_MINUTE,
            Query(f"60 * {rate(known.DECISIONS, 'reason', having('decision', 'denied'))} > 0", "{{reason}}"),
        ),
        bars(
            "Refused, by reason",
            "Commands that were allowed and could not be done, in the time shown. Worry when one reason leads by far:"
            " a screen of the back office offers what is not possible.",
            COUNT,
            Query(f"{grown(known.DECISIONS, 'reason', having('decision', 'refused', 'stale'))} > 0", "{{reason}}"),
        ),
        bars(
            "Commands, by type",
            "Commands decided on in the time shown, by type and decision. Worry about a type that is denied each time.",
            COUNT,
            Query(f"{grown(known.DECISIONS, 'command decision')} > 0", "{{command}} {{decision}}"),
            width=12,
        ),
        lines(
            "Time until a decision is carried out",
            "From the sending of an approval or a rejection to the end of its handling. Worry when p99 nears 30 s,"
            " the promise: people click and see nothing happen.",
            SECONDS,
            *_quantiles(known.CRITICAL_TIME, having("message_type", "ApprovePayment", "RejectPayment"), ENDED),
            width=12,
            steps=((30, RED),),
        ),
    ),
)

_RISK = Row(
    "Risk",
    (
        heat(
            "Fraud scores",
            "Where the fraud scores of new payments lie. It is empty until scoring is built. Worry when the upper rows"
            " fill: the alarm counts what is above 0.8.",
            SHARE,
            Query(
                over("sum", "le", f"increase({select(known.FRAUD_SCORE, suffix='_bucket')}[$__rate_interval])"),
                "{{le}}",
            ),
        ),
        lines(
            "Payouts of unknown outcome",
            "Payout attempts of which nobody knows yet whether money moved, by provider. They are looked up by"
            " themselves; worry when the line stays up.",
            COUNT,
            Query(highest(known.UNKNOWN_ATTEMPTS, "provider"), "{{provider}}"),
            width=6,
        ),
        lines(
            "Longest unknown payout",
            "Age of the oldest of them. Worry above an hour: ask the provider; after a day its key is forgotten.",
            SECONDS,
            Query(highest(known.UNKNOWN_ATTEMPTS_AGE, "provider"), "{{provider}}"),
            width=6,
            steps=((HOUR, AMBER), (DAY, RED)),
        ),
        lines(
            "Payouts that do not move",
            "Payments that are to be paid out and are not, by why. Worry when a line stays up: `stopped` waits for a"
            " person, `between_attempts` for funds, `approved_unpaid` for an order.",
            COUNT,
            Query(highest(known.PAYOUTS_WAITING, "reason"), "{{reason}}"),
            width=12,
        ),
        lines(
            "Longest standstill of a payout",
            "For how long the one that has waited longest has. Worry above an hour (runbook PayoutsNotMoving).",
            SECONDS,
            Query(highest(known.PAYOUTS_WAITING_AGE, "reason"), "{{reason}}"),
            width=12,
            steps=((HOUR, RED),),
        ),
    ),
)

APPROVALS = Dashboard(
    "payments-approvals",
    "Payments: approvals and money",
    "What people wait for: approvals, amounts, the payments' lifecycle, decisions on commands.",
    (_APPROVALS, _CREATION, _LIFECYCLE, _COMMANDS, _RISK),
)

# -- the database and the workers

_POOL = Row(
    "Connections to the database",
    (
        lines(
            "Connections in the pools",
            "Connections in all pools of a job, and those that nobody uses. Worry when none is free for long.",
            COUNT,
            Query(over("sum", "job", select(known.POOL_SIZE)), "{{job}} all"),
            Query(over("sum", "job", select(known.POOL_AVAILABLE)), "{{job}} free"),
        ),
        lines(
            "Requests that wait for a connection",
            "The process with the most. Worry when it stays above 0: the pool is too small, or the database too slow.",
            COUNT,
            Query(highest(known.POOL_WAITING, "job instance"), "{{job}} {{instance}}"),
            steps=((1, AMBER),),
        ),
        lines(
            "Wait for a connection",
            "Mean time that a request waited. Worry above some milliseconds: messages wait as long.",
            SECONDS,
            Query(f"{rate(known.POOL_WAIT, 'job')} / {rate(known.POOL_REQUESTS, 'job')}", "{{job}}"),
        ),
        lines(
            "Connection errors",
            "Connections in a minute that could not be made, or broke. Worry about `auth`: the password was changed;"
            " about `readonly`: a failover.",
            EACH_MINUTE,
            Query(f"60 * {rate(known.CONNECTION_ERRORS, 'kind')}", "{{kind}}"),
            stacked=True,
        ),
        numbers(
            "Age of the credentials",
            "Of the oldest database credentials in use; nothing where they do not come from Secrets Manager. Worry"
            " above two hours: they are not fetched any more.",
            SECONDS,
            Query(highest(known.CREDENTIALS_AGE, "job"), "{{job}}"),
            width=8,
            steps=((HOUR, AMBER), (2 * HOUR, RED)),
        ),
        lines(
            "Credentials fetched",
            "Fetches in a minute, by why. Worry about `failed`, and about `auth_failure` without a rotation.",
            EACH_MINUTE,
            Query(f"60 * {rate(known.CREDENTIALS_REFRESH, 'reason result')}", "{{reason}} {{result}}"),
            colours={"failed$": RED},
        ),
    ),
)

_TRANSACTIONS = Row(
    "Transactions",
    (
        lines(
            "Transaction time, p95",
            "All but one in twenty are done within this time, the wait for a connection included. Worry above a quarter"
            " of a second.",
            SECONDS,
            Query(quantile(0.95, known.TRANSACTION, "operation", having("result", "commit")), "{{operation}}"),
            steps=((0.25, AMBER),),
        ),
        lines(
            "Transactions rolled back",
            "The share of transactions that were rolled back. Worry when one operation stands out.",
            SHARE,
            Query(
                f"{rate(known.TRANSACTION, 'operation', having('result', 'rollback'), suffix='_count')}"
                f" / {rate(known.TRANSACTION, 'operation', suffix='_count')}",
                "{{operation}}",
            ),
        ),
        lines(
            "Transactions tried again, by sqlstate class",
            "Class 40 is a lost race between two messages and normal in small numbers; worry about 08 (connections),"
            " 53 (resources) and 57 (the server goes down).",
            EACH_SECOND,
            Query(rate(known.DB_RETRIES, "sqlstate_class"), "{{sqlstate_class}}"),
            stacked=True,
        ),
        bars(
            "Rows pruned",
            "Rows deleted in the time shown since they were kept for long enough. Worry when a table stays at 0 for"
            " days: it grows without end.",
            COUNT,
            Query(grown(known.PRUNED, "table"), "{{table}}"),
            width=12,
        ),
        bars(
            "Orders swept",
            "Orders that the sweep posted in the time shown. Looks are part of normal work; worry when `ProcessPayment`"
            " grows: orders get lost.",
            COUNT,
            Query(grown(known.SWEPT, "message_type result"), "{{message_type}} {{result}}"),
            width=12,
        ),
    ),
)

_WORKERS = Row(
    "Workers",
    (
        lines(
            "Utilisation",
            "The share of threads that handle a message now. Worry when it stays above 0.9: add workers.",
            SHARE,
            Query(f"{over('sum', '', select(known.BUSY_THREADS))} / {over('sum', '', select(known.THREADS))}", "busy"),
            steps=((0.9, AMBER),),
        ),
        lines(
            "Busy threads",
            "Threads that handle a message, by process. Worry when one process is always full and the others are idle.",
            COUNT,
            Query(over("sum", "instance", select(known.BUSY_THREADS)), "{{instance}}"),
            stacked=True,
        ),
        lines(
            "Time in the handler, p95",
            "Without the wait in the queue; the dots are single messages and lead to their traces. Worry when a type"
            " becomes slower after a deployment.",
            SECONDS,
            Query(quantile(0.95, known.PROCESSING, "message_type", ENDED), "{{message_type}}", exemplar=True),
        ),
        lines(
            "Received",
            "Messages received in a second, repeated receives included. Worry when it is far above the throughput: the"
            " same messages come over and over.",
            MESSAGES,
            Query(rate(known.RECEIVED, "queue"), "{{queue}}"),
        ),
        lines(
            "Receives of a message, mean",
            "How many times a message had been received when it was handled. 1 is perfect; worry above 1.5.",
            COUNT,
            Query(mean(known.RECEIVE_COUNT, "queue"), "{{queue}}"),
            steps=((1.5, AMBER),),
        ),
        lines(
            "Age of the last poll",
            "How long ago a queue last answered the poller that is furthest behind. An idle poll takes 20 seconds;"
            " worry above a minute.",
            SECONDS,
            Query(over("max", "queue", f"time() - {select(known.LAST_POLL)}"), "{{queue}}"),
            steps=((60, RED),),
        ),
        lines(
            "Leases",
            "Messages whose time in hand was extended, and those that were lost to another worker. Worry about `lost`:"
            " that work is done twice.",
            EACH_SECOND,
            Query(rate(known.LEASES, "result"), "{{result}}"),
            width=12,
            colours={"^lost$": RED},
        ),
        lines(
            "Deletes and back-offs",
            "What the queue said to each entry of a batch. Worry about `given_up`: such a message comes again although"
            " it is done.",
            EACH_SECOND,
            Query(rate(known.SETTLED, "result"), "{{result}}"),
            width=12,
            colours={"^given_up$": RED, "^refused$": AMBER},
        ),
    ),
)

_AWS = Row(
    "AWS",
    (
        lines(
            "Requests to AWS",
            "Requests in a second, repetitions included. Each is paid for: worry when it grows and the throughput does"
            " not.",
            REQUESTS,
            Query(rate(known.AWS_REQUESTS, "operation"), "{{operation}}"),
            width=12,
            stacked=True,
        ),
        lines(
            "Requests for each message",
            "Requests to AWS divided by messages handled. Below 1 by day is good, since ten messages share a request;"
            " at night the empty polls weigh. Worry when it rises under load.",
            COUNT,
            Query(f"{rate(known.AWS_REQUESTS)} / {rate(known.PROCESSED)}", "requests"),
            width=12,
        ),
    ),
)

_SECURITY = Row(
    "Security",
    (
        lines(
            "Tokens that prove nobody",
            "In a minute, by where they were shown and why. `expired` is everyday life; worry about `signature`, `key`"
            " and `algorithm`: somebody forges.",
            EACH_MINUTE,
            Query(f"60 * {rate(known.AUTH_FAILURES, 'surface reason')} > 0", "{{surface}} {{reason}}"),
        ),
        lines(
            "Signing keys fetched",
            "In a minute, with what success. Worry about `failed`: without keys no command can be checked.",
            EACH_MINUTE,
            Query(f"60 * {rate(known.JWKS_REFRESH, 'result')}", "{{result}}"),
            colours={"^failed$": RED},
        ),
        numbers(
            "Redactions",
            "Texts that the tripwire took out of log lines in the time shown. Each one is a bug: worry above 0.",
            COUNT,
            Query(grown(known.REDACTIONS, "detector"), "{{detector}}"),
            width=8,
            steps=((1, RED),),
        ),
    ),
)

_TRUTH = Row(
    "What must hold",
    (
        numbers(
            "Broken audit chains",
            "Payments whose audit chain is broken. There is no budget for it: worry above 0.",
            COUNT,
            Query(highest(known.BROKEN_LINKS), "broken"),
            width=4,
            steps=((1, RED),),
        ),
        numbers(
            "Chains last verified",
            "How long ago all audit chains were verified. Worry above a day.",
            SECONDS,
            Query(_age(known.CHAIN_VERIFIED), "ago"),
            width=4,
            steps=((DAY, AMBER), (_LIMITS.seconds("alerts.AuditChainUnverified.verified_within"), RED)),
        ),
        bars(
            "Rows that break an invariant",
            "By the invariant. There is no budget for it: worry above 0.",
            COUNT,
            Query(highest(known.VIOLATIONS, "invariant"), "{{invariant}}"),
            width=12,
            steps=((1, RED),),
        ),
        numbers(
            "Invariants last checked",
            "How long ago the invariants were checked. Worry above an hour: the bars to the left are old then.",
            SECONDS,
            Query(_age(known.INVARIANTS_CHECKED), "ago"),
            width=4,
            steps=((HOUR, AMBER), (DAY, RED)),
        ),
    ),
)

_ERRORS, _MISTAKES = having("status", "500", "503"), having("status", "400", "401", "403", "404", "405")

_HTTP = Row(
    "HTTP",
    (
        lines(
            "Requests",
            "Requests answered in a second, without those of monitoring. Worry about `none`, routes that there are not:"
            " somebody looks for doors.",
            REQUESTS,
            Query(f"{rate(known.HTTP_REQUESTS, 'route', FOR_PEOPLE)} > 0", "{{route}}"),
        ),
        lines(
            "Time of an answer",
            "From a request's arrival to the end of its answer. Worry when p99 is above 300 ms, the promise of the"
            " status endpoint.",
            SECONDS,
            *_quantiles(known.HTTP_DURATION, FOR_PEOPLE),
            steps=((0.3, RED),),
        ),
        lines(
            "Errors",
            "The share of requests that ended with an error of ours, and with an error of the asker. Worry above one in"
            " a thousand of ours.",
            SHARE,
            Query(
                f"{rate(known.HTTP_REQUESTS, '', FOR_PEOPLE, _ERRORS)} / {rate(known.HTTP_REQUESTS, '', FOR_PEOPLE)}",
                "ours",
            ),
            Query(
                f"{rate(known.HTTP_REQUESTS, '', FOR_PEOPLE, _MISTAKES)} / {rate(known.HTTP_REQUESTS, '', FOR_PEOPLE)}",
                "the asker's",
            ),
            steps=((READ_BUDGET, RED),),
            colours={"^ours$": RED},
        ),
    ),
)

DATABASE = Dashboard(
    "payments-database",
    "Payments: database and workers",
    "What the service stands on: connections, transactions, threads, AWS, security, what must hold, HTTP.",
    (_POOL, _TRANSACTIONS, _WORKERS, _AWS, _SECURITY, _TRUTH, _HTTP),
)

DASHBOARDS = (OVERVIEW, APPROVALS, DATABASE)


def files() -> Mapping[str, str]:
    """Return the dashboards' JSON by its path below this folder."""
    return {f"dashboards/{each.uid}.json": json_of(each, DASHBOARDS, known.INFO) for each in DASHBOARDS}
