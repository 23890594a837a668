"""How a payment comes into being, whichever message asks for it."""

from datetime import datetime

from contracts import ids
from contracts.inbound import Cause
from contracts.lifecycle import INITIAL, Event
from contracts.outbound import ApprovalRequest, PaymentApproved, PaymentCreated
from contracts.payment import Actor, ActorType, PayerType, Payment, PaymentRequest, Source
from contracts.policy import DEFAULT_TERMS, terms_for
from handlers.decision import Facts, Move, Post
from handlers.payable import due
from handlers.steps import certain, step

_INTAKE = Actor(ids.SYSTEM_INTAKE, ActorType.SYSTEM)
#: The policy of payments that need nobody's approval, for the audit log.
DRIVER_AUTHORISED = "driver_authorised"


def created(request: PaymentRequest, facts: Facts, now: datetime, *, source: Source, source_key: str) -> Move:
    """Return the creation of a payment: its row and lines, its announcement, and the request for approval.

    What its approval takes is frozen on it. A driver who pays has authorised it already: the system approves at once.
    """
    authorised = request.payer_type is PayerType.DRIVER_IC
    payment = _payment(request, facts, now, source=source, source_key=source_key, authorised=authorised)
    announcement = PaymentCreated(
        **PaymentCreated.about(payment, facts.cause, now),
        created_at=now,
        fraud_status=payment.fraud_status,
        line_item_count=len(request.lines),
        required_approvals=payment.required_approvals,
    )
    terms = {"policyVersion": payment.policy_version} if payment.policy_version else {}
    return Move(
        before=None,
        after=payment,
        event=Event.CREATED,
        actor=facts.actor,
        posts=(Post(announcement),) if authorised else (Post(announcement), Post(_approval_request(payment))),
        lines=request.lines,
        data={
            "source": source,
            "lineItemCount": len(request.lines),
            "requiredApprovals": payment.required_approvals,
            **terms,
        },
        note=request.note,
        then=_authorised(payment, facts.cause, now) if authorised else None,
    )


def _payment(
    request: PaymentRequest, facts: Facts, now: datetime, *, source: Source, source_key: str, authorised: bool
) -> Payment:
    terms = DEFAULT_TERMS if authorised else terms_for(facts.policy, request.money)
    return Payment(
        payment_id=ids.payment_id(source_key),
        incident_id=request.incident_id,
        vendor_id=request.vendor_id,
        company_id=request.company_id,
        driver_id=request.driver_id,
        payer_type=request.payer_type,
        payer_id=request.payer_id,
        amount_cents=request.money.amount_cents,
        currency=request.money.currency,
        status=INITIAL,
        source=source,
        source_key=source_key,
        request_fingerprint=facts.cause.fingerprint,
        created_by=facts.actor.id,
        created_at=now,
        updated_at=now,
        metadata=request.metadata,
        policy_version=terms.policy_version,
        required_approvals=terms.approvers,
        approver_roles=terms.roles,
        separate_releaser=terms.separate_releaser,
    )


def _authorised(payment: Payment, cause: Cause, now: datetime) -> Move:
    """Return the system's approval of a payment that the driver pays: `approved_by` stays empty."""
    after = certain(payment, Event.APPROVED, now, approved_at=now)
    announcement = PaymentApproved(
        **PaymentApproved.about(after, cause, now), approved_by=None, approved_at=now, approvals=()
    )
    data = {"policy": DRIVER_AUTHORISED}
    approved = step(payment, after, Event.APPROVED, _INTAKE, (announcement, *due(after, cause)), data=data)
    if not isinstance(approved, Move):
        raise AssertionError("an approval is a move")  # noqa: TRY004 - a broken invariant, as in `certain`
    return approved


def _approval_request(payment: Payment) -> ApprovalRequest:
    return ApprovalRequest(
        payment_id=payment.payment_id,
        incident_id=payment.incident_id,
        vendor_id=payment.vendor_id,
        amount_cents=payment.amount_cents,
        currency=payment.currency,
        created_at=payment.created_at,
    )
