"""What holds for every body: only the declared errors, one meaning whatever its spelling, a well-formed decision."""

import json
from datetime import timedelta
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.envelope import DELIVERIES, Arrival, Malformed, Queue
from contracts.inbound import KINDS, Parsed
from contracts.outbound import EVENTS, OUTBOUND, EventMessage
from contracts.provider import TryLater
from handlers.decision import Absorb, Decision, Enact, Move, NotYet, Order, Record, Refuse
from handlers.routes import ROUTES
from tests.fuzz import facts, strategies
from tests.kit import messages as m
from tests.kit.messages import NOW

#: Building whole documents is slow at first; the number of examples bounds the time, not a deadline.
_SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
_SCHEMAS = {
    model.__name__: jsonschema.Draft202012Validator(model.model_json_schema(mode="serialization")) for model in OUTBOUND
}


def read(sent: strategies.Sent) -> Parsed | None:
    """The message of a body, None where it is none; anything undeclared is the test's failure."""
    queue, body = sent
    try:
        return m.read(body, Arrival(queue, "sqs-1", NOW))
    except Malformed:
        return None


@pytest.mark.parametrize("kind", sorted(KINDS))
@given(data=st.data())
@settings(_SLOW, max_examples=15)
def test_what_a_schema_allows_is_parsed(kind, data):
    parsed = read(data.draw(strategies.valid(kind)))
    assert parsed is not None
    assert parsed.cause.kind == kind


@given(strategies.anything())
@settings(_SLOW, max_examples=300)
def test_no_body_raises_what_is_not_declared(sent):
    first, second = read(sent), read(sent)
    assert (first and first.cause) == (second and second.cause)


@given(strategies.valid(), st.integers(0, 4), st.booleans())
@settings(_SLOW, max_examples=60)
def test_spelling_does_not_change_what_a_message_is(sent, indent, escaped):
    queue, body = sent
    turned = dict(reversed(json.loads(body).items()))
    parsed, again = read(sent), read((queue, json.dumps(turned, indent=indent, ensure_ascii=escaped)))
    assert parsed
    assert again
    assert parsed.cause == again.cause


@given(strategies.valid(), st.data())
@settings(_SLOW, max_examples=200)
def test_every_message_can_be_decided_whatever_it_meets(sent, data):
    parsed = read(sent)
    assert parsed is not None
    met = data.draw(st.sampled_from(facts.SORTS)).facts(parsed)
    try:
        decision = ROUTES[type(parsed.message)].decide(met, parsed.message, NOW + timedelta(seconds=1))
    except NotYet:
        assert met.attempt is None or met.told.answer is None or isinstance(met.told.answer, TryLater)
        return
    _check(decision, met.payment)


def _check(decision: Decision, payment: Any) -> None:
    """See that a decision can be carried out: one version on, the same money, events that their schemas allow."""
    match decision:
        case Move() | Record():
            before = decision.before
            assert before == payment
            assert decision.after.version == (before.version + 1 if before else 1)
            if before:
                kept = ("payment_id", "amount_cents", "currency", "vendor_id", "created_by", "source_key")
                assert all(getattr(before, name) == getattr(decision.after, name) for name in kept)
            else:
                assert sum(line.total_cents for line in decision.lines) == decision.after.amount_cents > 0
            posted = [post.message for post in decision.posts]
            assert sum(isinstance(message, EventMessage) for message in posted) == 1
            if decision.then:
                _check(decision.then, decision.after)
        case Refuse():
            posted = [decision.event]
            assert decision.event.wire()["code"] == decision.code
        case Enact() | Order():
            posted = list(decision.orders)
        case Absorb():
            posted = []
    for message in posted:
        _SCHEMAS[type(message).__name__].validate(message.wire())


def test_every_queue_and_event_is_reached():
    assert {queue for kind in KINDS for queue, _ in DELIVERIES[kind]} == set(Queue)
    assert {event.__name__ for event in EVENTS} <= set(_SCHEMAS)
