"""The closed set of what a decision can be, and the facts it is taken on."""

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from contracts.inbound import Cause
from contracts.lifecycle import Event
from contracts.outbound import EventMessage, OutboundMessage, OwnOrder
from contracts.payment import (
    Actor,
    ActorType,
    Approval,
    Attempt,
    LineItem,
    Membership,
    Payment,
    VendorAccount,
    Waiting,
)
from contracts.policy import Policy
from contracts.provider import NOT_ASKED, Reversal, Told
from contracts.refusals import Refusal
from contracts.values import dataclass


class NotYet(Exception):
    """The payment is not there yet: queues do not keep order, so the message waits and comes again.

    Attributes:
        left: how much longer it may wait before it is refused, by the database's clock; None where nobody counts.
    """

    def __init__(self, left: timedelta | None = None) -> None:
        super().__init__()
        self.left = left


@dataclass(frozen=True, slots=True)
class Senders:
    """Whose messages are believed, by the unique ids of IAM roles and users; nobody's, where a set is empty.

    Attributes:
        commands: who may hand on people's commands.
        memberships: the one role that may tell of memberships without a person's token.
        accounts: the one role that may tell of vendors' accounts without a person's token.
        payouts: the service itself, on its own queue.
        operators: who may put back what has failed before, and nothing else.
    """

    commands: frozenset[str] = frozenset()
    memberships: frozenset[str] = frozenset()
    accounts: frozenset[str] = frozenset()
    payouts: frozenset[str] = frozenset()
    operators: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that decisions depend on; durations as time spans.

    Attributes:
        not_yet_for: how long a message waits for its payment before it is refused as `not_found`.
        clock_skew: how far a producer's clock may be ahead of ours.
        submit_window: how long after its creation an attempt may be submitted under its key. Stripe keeps
            idempotency keys for at least 24 h; an hour of it is safety.
        check_after: when an attempt of unknown outcome is looked up again, by the number of the check; the
            last one repeats. So does a payment wait for its next attempt, by the number of the one that failed.
        account_cool_down: how long a vendor's payouts are held once another account was named.
        unregistered_accounts: whether a vendor without a registered account is paid, to an account that is derived from
            the vendor. Only a provider without a bank behind it takes that.
        allow_legacy_ids: map ids that are no UUIDs instead of refusing them.
        provider: the provider that new attempts go to.
        command_age: how old a person's command may be, from its first sending, before it is `stale`.
        token_skew: how far the clocks of the queue and of the token's issuer may be apart.
        senders: whose messages are believed.
    """

    not_yet_for: timedelta = timedelta(seconds=120)
    clock_skew: timedelta = timedelta(minutes=5)
    submit_window: timedelta = timedelta(hours=23)
    check_after: tuple[timedelta, ...] = (timedelta(minutes=5), timedelta(hours=1), timedelta(days=1))
    account_cool_down: timedelta = timedelta(hours=24)
    unregistered_accounts: bool = True
    allow_legacy_ids: bool = False
    provider: str = "sandbox"
    command_age: timedelta = timedelta(hours=24)
    token_skew: timedelta = timedelta(seconds=60)
    senders: Senders = Senders()


#: Who acts where nobody was made out: somebody without a role, who may do nothing.
NOBODY = Actor(UUID(int=0), ActorType.USER)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a decision may know, read under the row lock.

    Attributes:
        cause: the message's identity and where it came from.
        payment: the payment that the message is about, or that its work already has.
        attempt: the payout attempt that the message is about, or the payment's newest.
        told: what the provider said before, where the message is one to ask it about.
        actor: who acts, proven; their role and company are our own table's.
        approvals: the payment's approvals so far.
        policy: the newest policy of the company that a new payment, or the command, is about.
        member: the membership that the command is about, as it stands.
        account: where the vendor that the message is about is paid.
        waiting: the vendor's approved payments that wait to be paid out.
        first_sent_at: when the message was first sent ever, also where it has been put back since.
    """

    cause: Cause
    rules: Rules
    payment: Payment | None = None
    attempt: Attempt | None = None
    told: Told = NOT_ASKED
    actor: Actor = NOBODY
    approvals: tuple[Approval, ...] = ()
    policy: Policy | None = None
    member: Membership | None = None
    account: VendorAccount | None = None
    waiting: tuple[Waiting, ...] = ()
    first_sent_at: datetime | None = None

    @property
    def sent_at(self) -> datetime:
        """When the message was first sent."""
        return self.first_sent_at or self.cause.sent_at


@dataclass(frozen=True, slots=True)
class Post:
    """Something to say outside, at once or not before a time."""

    message: OutboundMessage
    not_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Returned:
    """What came back of an attempt's money, all of it that the provider tells of."""

    attempt: Attempt
    reversals: tuple[Reversal, ...]


@dataclass(frozen=True, slots=True)
class _Change:
    before: Payment | None
    after: Payment
    event: Event
    actor: Actor
    posts: tuple[Post, ...]
    lines: tuple[LineItem, ...] = ()
    opens: Attempt | None = None
    settles: Attempt | None = None
    approval: Approval | None = None
    returned: Returned | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    note: str | None = None
    then: "Move | Record | None" = None


@dataclass(frozen=True, slots=True)
class Move(_Change):
    """The payment changes its status; its creation is the move from nothing.

    Attributes:
        before: the payment as it is locked, None when it is being created.
        after: the payment as it shall be, one version on.
        event: what happened; the action in the audit log.
        actor: who caused it.
        posts: what is announced or ordered with it.
        lines: the line items, when the payment is being created.
        opens: the payout attempt that begins.
        settles: the payout attempt of which something is now known.
        approval: the approval that is recorded with it.
        returned: what came back of its money.
        data: further facts for the audit log; never free text.
        note: free text of a person, kept beside the log so that it can be erased.
        then: what follows at once, in the same transaction and one version on.
    """


@dataclass(frozen=True, slots=True)
class Record(_Change):
    """The payment's row changes and its version moves, but not its status; the attributes are a Move's."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """The message is turned down for good, and its sender is told.

    Attributes:
        code: the reason.
        event: what is announced.
        payment: the payment it was about, where there is one.
    """

    code: Refusal
    event: EventMessage
    payment: Payment | None = None


@dataclass(frozen=True, slots=True)
class Absorb:
    """A late or repeated fact that is already true; nothing changes."""

    payment: Payment | None


@dataclass(frozen=True, slots=True)
class Enact:
    """Something changes that is no payment: a company's policy, a person's membership, a vendor's account.

    Attributes:
        what: the new row.
        subject: the company, the person or the vendor.
        actor: who caused it.
        data: what it says, for `access_audit`.
        replaces: whether a row is there that it takes the place of.
        orders: what the service orders from itself because of it.
    """

    what: Policy | Membership | VendorAccount
    subject: UUID
    actor: Actor
    data: Mapping[str, Any] = field(default_factory=dict)
    replaces: bool = False
    orders: tuple[OwnOrder, ...] = ()


@dataclass(frozen=True, slots=True)
class Order:
    """Nothing changes yet: the service orders from itself what changes something, each in a transaction of its own."""

    orders: tuple[OwnOrder, ...]


Decision = Move | Record | Enact | Order | Refuse | Absorb
