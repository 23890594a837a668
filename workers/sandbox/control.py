"""What people, commands and other processes arrange with the provider: `/_control/`, in JSON, never spoilt."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workers.sandbox import objects
from workers.sandbox.api import Answer
from workers.sandbox.books import AccountState, Books, PayoutStatus
from workers.sandbox.plan import Fault, Outage, Plan, Switches
from workers.sandbox.refusals import Refusal
from workers.sandbox.tables import Table

PREFIX = "/_control/"
Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Control:
    """Changes the provider itself."""

    books: Books
    plan: Plan
    switches: Switches

    def answer(self, method: str, path: str, body: str) -> Answer:
        """Return the answer to a request below `/_control/`."""
        try:
            given = json.loads(body or "{}")
            if not isinstance(given, dict):
                raise ValueError("an object is wanted")  # noqa: TRY301, TRY004 - the one road of what is wrong
            return _told(200, self._act(method, path.removeprefix(PREFIX), given))
        except Refusal as refusal:
            return _told(refusal.status, refusal.body)
        except KeyError as error:
            return _told(400, {"error": {"message": f"missing: {error.args[0]}"}})
        except (ValueError, TypeError, AttributeError) as error:
            return _told(400, {"error": {"message": str(error)}})

    def _act(self, method: str, path: str, body: Body) -> Body:
        for wanted, pattern, act in _ACTS:
            found = re.fullmatch(pattern, path)
            if found and method == wanted:
                return act(self, body, found[1] if found.groups() else "")
        raise Refusal(404, f"Unrecognized request URL ({method}: {PREFIX}{path}).")

    def state(self, _body: Body, _name: str) -> Body:
        """Return what there is, the time, and what goes wrong."""
        with self.books.lock:
            counts = {table.value: len(self.books.tables.rows(table)) for table in Table if table is not Table.CLOCK}
            return {
                "counts": counts,
                "undelivered": len(self.books.undelivered()),
                "clock": {"now": self.books.clock.now().isoformat(), "offset_s": self.books.clock.offset_s},
                "balance": {item["currency"]: item["amount"] for item in self.books.balance()["available"]},
                "plan": self.plan.told(),
                "outage": self.switches.outage,
                "unauthorized": self.switches.unauthorized,
            }

    def set_plan(self, body: Body, name: str) -> Body:
        """Start another plan; `next` names faults that strike the next POST requests, one each."""
        rates = {Fault(fault): float(rate) for fault, rate in body.get("rates", {}).items()}
        low, high = body.get("slow_s", (0.2, 1.0))
        self.plan.set(int(body.get("seed", 0)), rates, (float(low), float(high)), float(body.get("timeout_s", 30)))
        for fault in body.get("next", ()):
            self.plan.force(Fault(fault))
        return self.state(body, name)

    def set_outage(self, body: Body, name: str) -> Body:
        """Switch an outage on or off."""
        self.switches.outage = Outage(str(body["mode"]))
        return self.state(body, name)

    def set_unauthorized(self, body: Body, name: str) -> Body:
        """Refuse every key from now on, or not any more."""
        self.switches.unauthorized = bool(body["on"])
        return self.state(body, name)

    def advance(self, body: Body, name: str) -> Body:
        """Move the clock on."""
        self.books.advance(float(body["advance_s"]))
        return self.state(body, name)

    def prune(self, _body: Body, _name: str) -> Body:
        """Forget old keys."""
        return {"pruned": self.books.prune()}

    def set_balance(self, body: Body, name: str) -> Body:
        """Say what there is to pay with."""
        amounts = {str(currency): None if amount is None else int(amount) for currency, amount in body.items()}
        for currency, amount in amounts.items():
            self.books.set_balance(currency, amount)
        return self.state(body, name)

    def set_account(self, body: Body, name: str) -> Body:
        """Say how it is with an account."""
        self.books.set_account(name, AccountState(body["state"]))
        return objects.account(name, self.books.account_state(name))

    def settle(self, body: Body, _name: str) -> Body:
        """Pay out what an account has."""
        return objects.page(self.books.settle(str(body["account"])), f"{PREFIX}payouts")

    def finish_payout(self, body: Body, name: str) -> Body:
        """Let a payout arrive or fail."""
        return self.books.finish_payout(name, PayoutStatus(body["status"]), body.get("failure_code"))


def _told(status: int, body: Body) -> Answer:
    return Answer(status, json.dumps(body, indent=2).encode() + b"\n")


_ACTS: tuple[tuple[str, str, Callable[[Control, Body, str], Body]], ...] = (
    ("GET", "state", Control.state),
    ("PUT", "plan", Control.set_plan),
    ("PUT", "outage", Control.set_outage),
    ("PUT", "unauthorized", Control.set_unauthorized),
    ("POST", "clock", Control.advance),
    ("POST", "prune", Control.prune),
    ("PUT", "balance", Control.set_balance),
    ("PUT", "accounts/([^/]+)", Control.set_account),
    ("POST", "payouts", Control.settle),
    ("POST", "payouts/([^/]+)", Control.finish_payout),
)
