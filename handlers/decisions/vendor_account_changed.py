"""VendorAccountChanged: where a vendor is paid from now on, told by an admin or by the one role configured for it."""

import re
from datetime import datetime

from contracts.ids import as_uuid
from contracts.inbound import VendorAccountChanged
from contracts.payment import VendorAccount
from contracts.refusals import Refusal
from handlers.decision import Absorb, Decision, Enact, Facts
from handlers.payable import waited
from handlers.steps import Flaw, denial, refuse_command

_ACCOUNT = re.compile(r"acct_[A-Za-z0-9]{1,250}")
REQUIREMENTS_MAX = 50
REQUIREMENT_CHARS_MAX = 100


def decide(facts: Facts, message: VendorAccountChanged, now: datetime) -> Decision:
    """Write the account; another one than before holds the vendor's payouts for a cool-down.

    Otherwise what waited for the account is ordered to be paid. An earlier word that arrives after a later one counts
    for nothing.
    """
    asked = _asked(facts, message)
    if isinstance(asked, Flaw):
        return refuse_command(facts, message, now, *asked)
    if denied := denial(facts):
        return refuse_command(facts, message, now, denied)
    if asked.vendor_id in (facts.actor.id, facts.actor.vendor_id):
        return refuse_command(facts, message, now, Refusal.SELF_APPROVAL)
    if facts.account and asked.as_of < facts.account.as_of:
        return Absorb(None)
    account = _cooled(facts, asked, now)
    orders = waited(facts.waiting, facts.cause) if account.payable(now) else ()
    return Enact(
        account, account.vendor_id, facts.actor, _data(facts, account), replaces=bool(facts.account), orders=orders
    )


def _asked(facts: Facts, message: VendorAccountChanged) -> VendorAccount | Flaw:
    vendor_id, requirements = as_uuid(message.vendor_id), message.requirements
    if vendor_id is None:
        return Flaw(Refusal.NON_UUID_ID, "vendorId")
    if not _ACCOUNT.fullmatch(message.stripe_account_id):
        return Flaw(Refusal.INVALID_FIELD, "stripeAccountId")
    if len(requirements) > REQUIREMENTS_MAX or not all(0 < len(name) <= REQUIREMENT_CHARS_MAX for name in requirements):
        return Flaw(Refusal.INVALID_FIELD, "requirements")
    return VendorAccount(vendor_id, message.stripe_account_id, message.payouts_enabled, requirements, facts.sent_at)


def _cooled(facts: Facts, asked: VendorAccount, now: datetime) -> VendorAccount:
    """Return the account with its cool-down: one that is under way goes on, and another account begins one."""
    before = facts.account
    if before is None:
        return asked
    held_until = before.held_until
    if before.account_id != asked.account_id:
        held_until = max(now + facts.rules.account_cool_down, held_until or now)
    return VendorAccount(
        asked.vendor_id, asked.account_id, asked.payouts_enabled, asked.requirements, asked.as_of, held_until
    )


def _data(facts: Facts, account: VendorAccount) -> dict[str, object]:
    return {
        "stripeAccountId": account.account_id,
        "before": facts.account.account_id if facts.account else None,
        "payoutsEnabled": account.payouts_enabled,
        "requirements": len(account.requirements),
        "heldUntil": account.held_until.isoformat() if account.held_until else None,
    }
