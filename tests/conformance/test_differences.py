"""A written difference is one of a server, and of a rule that is still put to it."""

import pytest

from tests.conformance import test_sqs_receiving, test_sqs_sending
from tests.conformance.conftest import BACKENDS
from tests.conformance.differences import DIFFERENCES

pytestmark = pytest.mark.long


def test_the_model_itself_has_no_difference():
    assert {backend for backend, _ in DIFFERENCES} <= set(BACKENDS) - {"model"}


def test_every_difference_is_of_a_rule_that_is_tested():
    tested = {*vars(test_sqs_sending), *vars(test_sqs_receiving)}
    assert {rule.split("[")[0] for _, rule in DIFFERENCES} <= tested
