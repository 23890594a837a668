"""The back office at work, as the demo shows it: who may do what, who may not, and what becomes of each try."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from rich.table import Table

from contracts import ids
from contracts.refusals import Refusal
from store import policies, reads
from store.db import Pool
from store.desk import Ended
from workers import acting, clock, sending
from workers.local.people import ADMIN, COLLEAGUE, COMPANY, DISPATCHER, PEOPLE, STRANGER, DemoPerson
from workers.local.pools import LIFETIME, LocalPool
from workers.local.stack import Running
from workers.sending import Sender

if TYPE_CHECKING:
    from mypy_boto3_events.client import EventBridgeClient
    from mypy_boto3_sqs.client import SQSClient

#: How long the demo waits for one answer, in seconds.
PATIENCE_S = 30.0
#: One approval up to 300.00 USD, two beyond, one for whatever is in CAD.
TIERS: tuple[Mapping[str, Any], ...] = (
    {"currency": "USD", "upToCents": 30_000, "approvers": 1},
    {"currency": "USD", "approvers": 2},
    {"currency": "CAD", "approvers": 1},
)
#: A token is used for half of its life at most.
_TOKEN_AGE = LIFETIME / 2


@dataclass(frozen=True, slots=True)
class Seen:
    """One try: who did what, what came of it, and whether that is what should have."""

    who: str
    did: str
    came: str
    right: bool


@dataclass(slots=True)
class BackOffice:
    """The demo's people, who sign what they send."""

    running: Running
    sqs: "SQSClient"
    bus: "EventBridgeClient"
    pool: Pool
    seen: list[Seen] = field(default_factory=list)
    _tokens: dict[str, tuple[datetime, str]] = field(default_factory=dict)

    def sender(self, person: DemoPerson) -> Sender:
        """Return a person with a token that still holds for a while."""
        now = clock.now()
        minted_at, token = self._tokens.get(person.name, (now - LIFETIME, ""))
        if now - minted_at > _TOKEN_AGE and self.running.token_keys_file:
            token = LocalPool(self.running.token_keys_file).mint(person.subject, [person.role], now)
            self._tokens[person.name] = (now, token)
        return Sender(person.subject, token)

    def approval(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the dispatcher's approval of what the back office was asked about."""
        saw = {name: body[name] for name in ("paymentId", "amountCents", "currency")}
        return sending.command(
            "ApprovePayment", self.sender(DISPATCHER), {**saw, "approvedBy": str(DISPATCHER.subject)}
        )

    def post(self, message: Mapping[str, Any]) -> None:
        """Put a command on the queue."""
        sending.post(self.sqs, self.running.queues["commands"], message)

    def answer(self, message: dict[str, Any]) -> Ended | None:
        """Post a command and wait for what becomes of it."""
        self.post(message)
        return acting.wait(self.pool, message, within_s=PATIENCE_S)

    # -- before the first job

    def open(self) -> bool:
        """Make everybody a member and give their company a policy; return whether that worked."""
        directory = Sender(ids.SYSTEM_DIRECTORY)
        tries = [sending.command("MembershipChanged", directory, _membership(person)) for person in PEOPLE.values()]
        done = [self.answer(message) for message in tries]
        if not policies.versions(self.pool, COMPANY):
            fields = {"companyId": str(COMPANY), "tiers": TIERS}
            done.append(self.answer(sending.command("SetApprovalPolicy", self.sender(ADMIN), fields)))
        return all(ended is not None and ended.outcome == "applied" for ended in done)

    # -- the scenes

    def play(self) -> Mapping[str, Any]:
        """Play every scene; return a payment that is left waiting, for whoever looks on."""
        waits = self._job(15_000)
        self._large(self._job(45_000))
        self._held(self._job(12_000))
        self._unwanted(self._job(8_000))
        tiers = {"companyId": str(COMPANY), "tiers": [{"currency": "USD", "approvers": 1}]}
        self._try(DISPATCHER, "sets a laxer policy", "SetApprovalPolicy", tiers, Refusal.FORBIDDEN_ROLE)
        return waits

    def _large(self, saw: Mapping[str, Any]) -> None:
        self._try(STRANGER, "approves 450.00 USD of others", "ApprovePayment", saw, Refusal.WRONG_COMPANY)
        self._try(None, "approves it, with no token", "ApprovePayment", saw, Refusal.UNAUTHENTICATED)
        self._try(DISPATCHER, "approves it", "ApprovePayment", saw, "PaymentApprovalRecorded")
        self._try(DISPATCHER, "approves it again", "ApprovePayment", saw, Refusal.ALREADY_DECIDED)
        self._try(COLLEAGUE, "approves it", "ApprovePayment", saw, "PaymentApproved")
        self._paid(saw)

    def _held(self, saw: Mapping[str, Any]) -> None:
        self._try(DISPATCHER, "holds 120.00 USD", "HoldPayment", {**saw, "reason": "No invoice yet."}, "PaymentHeld")
        self._try(COLLEAGUE, "approves it", "ApprovePayment", saw, Refusal.ON_HOLD)
        self._try(COLLEAGUE, "releases it", "ReleaseHold", {**saw, "reason": "Here it is."}, "PaymentReleased")
        self._try(COLLEAGUE, "approves it", "ApprovePayment", saw, "PaymentApproved")
        self._paid(saw)

    def _unwanted(self, saw: Mapping[str, Any]) -> None:
        less = {**saw, "amountCents": 1}
        self._try(DISPATCHER, "approves 80.00 USD as 0.01", "ApprovePayment", less, Refusal.AMOUNT_MISMATCH)
        reason = {**saw, "reason": "It was never towed."}
        self._try(DISPATCHER, "rejects it", "RejectPayment", reason, "PaymentCancelled")

    def _job(self, amount_cents: int) -> Mapping[str, Any]:
        """Let a job be finished; return what its payment's approver sees."""
        line = {"description": "Tow - Base Service", "quantity": 1, "unitPriceCents": amount_cents}
        detail = sending.work_completed(
            incident_id=uuid4(), vendor_id=uuid4(), priced={"lineItems": [line]}, more={"companyId": str(COMPANY)}
        )
        sending.put_work(self.bus, self.running.event_bus, [detail])
        key = ids.work_source_key(detail["incidentId"], detail["vendorId"], detail["eventId"])
        return {"paymentId": str(ids.payment_id(key)), "amountCents": amount_cents, "currency": "USD"}

    def _try(
        self, person: DemoPerson | None, did: str, kind: str, fields: Mapping[str, Any], expected: Refusal | str
    ) -> None:
        sender = self.sender(person) if person else Sender(ADMIN.subject)
        ended = self.answer(sending.command(kind, sender, fields))
        came = (ended.code or ended.event or ended.outcome) if ended else "no answer"
        right = came == expected
        self.seen.append(Seen(person.name if person else "nobody", did, _in_words(ended), right))

    def _paid(self, saw: Mapping[str, Any]) -> None:
        """Wait until the payment is paid."""
        payment_id, deadline = UUID(saw["paymentId"]), clock.now() + timedelta(seconds=PATIENCE_S)
        while (view := reads.payment(self.pool, payment_id)) is None or view.payment.status != "completed":
            if clock.now() > deadline:
                self.seen.append(Seen("the service", "pays it out", "not within its time", right=False))
                return
            clock.sleep(acting.LOOK_EVERY_S)
        self.seen.append(Seen("the service", "pays it out", "completed", right=True))


def _membership(person: DemoPerson) -> dict[str, Any]:
    company = str(person.company_id) if person.company_id else None
    return {"sub": str(person.subject), "role": person.role, "companyId": company, "enabled": True}


def _in_words(ended: Ended | None) -> str:
    if ended is None:
        return "no answer"
    if ended.code:
        return f"refused: {ended.code}"
    stands = f", version {ended.detail['paymentVersion']}" if "paymentVersion" in ended.detail else ""
    return f"{ended.event or ended.outcome}{stands}"


def scenes(seen: Iterable[Seen]) -> Table:
    """Return what was tried and what came of it."""
    table = Table("who", "does what", "and then", title="The back office at work", title_justify="left")
    for one in seen:
        table.add_row(one.who, one.did, one.came if one.right else f"{one.came} (NOT AS IT SHOULD BE)")
    return table
