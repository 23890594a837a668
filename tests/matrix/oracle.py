"""Who may do what, said a second time and otherwise: as sets of personas, and not made from the matrix."""

from contracts.authority import Persona

EVERYBODY = frozenset(Persona)
BACK_OFFICE = frozenset({Persona.DISPATCHER_OWN, Persona.ADMIN})

#: Whose commands of a kind are accepted.
ACCEPTED: dict[str, frozenset[Persona]] = {
    "CreatePayment": frozenset({Persona.ADMIN}),
    "ApprovePayment": BACK_OFFICE,
    "RejectPayment": BACK_OFFICE,
    "CancelPayment": BACK_OFFICE,
    "HoldPayment": BACK_OFFICE,
    "ReleaseHold": BACK_OFFICE,
    "ProcessPayment": BACK_OFFICE | {Persona.SERVICE},
    "SetApprovalPolicy": frozenset({Persona.ADMIN}),
    "MembershipChanged": frozenset({Persona.ADMIN, Persona.SERVICE}),
    "VendorAccountChanged": frozenset({Persona.ADMIN, Persona.SERVICE}),
    "WorkCompleted": frozenset({Persona.SERVICE}),
    "ExecutePayout": frozenset({Persona.SERVICE}),
    "ReconcileAttempt": frozenset({Persona.SERVICE}),
    "ProviderEvent": frozenset({Persona.SERVICE}),
}
#: What never comes from a person, so that on the command queue it is malformed.
NO_COMMANDS = frozenset({"WorkCompleted", "ExecutePayout", "ReconcileAttempt", "ProviderEvent"})
#: What may come without anybody's token, so that an operator may put it back, and may not make it.
WITHOUT_PERSON = NO_COMMANDS | {"ProcessPayment", "MembershipChanged", "VendorAccountChanged"}
#: Who reads what: the payment of one's own company or vendor, in full, as a list that holds it, or its history.
READS: dict[str, frozenset[Persona]] = {
    "GET /payments/{id}": BACK_OFFICE | {Persona.VENDOR_OWN},
    "GET /payments/{id}/audit": BACK_OFFICE,
    "GET /payments/pending": BACK_OFFICE,
    "GET /payments/flagged": BACK_OFFICE,
}
OPEN = ("GET /health", "GET /ready", "GET /metrics", "GET /openapi.json", "GET /")
LISTS = ("GET /payments/pending", "GET /payments/flagged")
#: The rows of the reading role's tables that a persona sees of a payment, and of its own membership.
SEEN: dict[str, frozenset[Persona]] = {
    "payments": BACK_OFFICE | {Persona.VENDOR_OWN, Persona.OPERATOR},
    "payment_line_items": BACK_OFFICE | {Persona.VENDOR_OWN, Persona.OPERATOR},
    "payment_audit_log": BACK_OFFICE | {Persona.OPERATOR},
    "payment_approvals": BACK_OFFICE | {Persona.OPERATOR},
}
#: The roles of processes; and by role of the database, whose heartbeats it sees and which it may write itself.
PROCESSES = frozenset({"worker", "relay", "monitor", "status"})
HEARTBEATS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "payments_owner": (PROCESSES, PROCESSES),
    "payments_worker": (frozenset({"worker"}), frozenset({"worker"})),
    "payments_relay": (frozenset({"relay"}), frozenset({"relay"})),
    "payments_reader": (PROCESSES, frozenset({"status"})),
    "payments_monitor": (PROCESSES, frozenset({"monitor"})),
}


def of_command(kind: str, who: Persona) -> str:
    """How a persona's command of a kind ends."""
    if who in ACCEPTED[kind]:
        return "accepted"
    if who is Persona.OPERATOR and kind in WITHOUT_PERSON:
        return "forbidden_sender"
    if kind in NO_COMMANDS:
        return "invalid"
    if who in {Persona.ANONYMOUS, Persona.SERVICE, Persona.OPERATOR}:
        return "unauthenticated"
    foreign = who is Persona.DISPATCHER_OTHER and Persona.DISPATCHER_OWN in ACCEPTED[kind]
    return "wrong_company" if foreign else "forbidden_role"


def of_read(read: str, who: Persona) -> str:
    """How a persona's read is answered."""
    if read in OPEN:
        return "-" if who is Persona.OPERATOR or (who is Persona.SERVICE and read != "GET /metrics") else "200"
    if who in READS[read]:
        return "200"
    if who in {Persona.SERVICE, Persona.OPERATOR}:
        return "read" if who is Persona.OPERATOR else "-"
    if who in {Persona.ANONYMOUS, Persona.NOBODY}:
        return "401" if who is Persona.ANONYMOUS else "403"
    if read in LISTS:
        return "200 without it" if who is Persona.DISPATCHER_OTHER else "403"
    return "403" if who is Persona.VENDOR_OWN else "404"


def of(operation: str, who: Persona) -> str:
    """What the cell of an operation and a persona must say."""
    return of_read(operation, who) if operation.startswith("GET ") else of_command(operation, who)


#: Every cell that there must be.
CELLS = [(operation, who) for operation in (*ACCEPTED, *OPEN, *READS) for who in Persona]
