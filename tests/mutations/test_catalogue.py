"""The catalogue of mutations fits the code; whether each is noticed is shown by `make mutations`."""

import pytest

from tests.mutations.__main__ import PROJECT
from tests.mutations.catalogue import CATALOGUE, Mutation


@pytest.mark.parametrize("mutation", CATALOGUE, ids=lambda mutation: mutation.name)
def test_a_mutation_can_be_applied_and_has_tests_that_may_notice_it(mutation: Mutation):
    for edit in mutation.edits:
        text = (PROJECT / edit.path).read_text()
        earlier = [other for other in mutation.edits[: mutation.edits.index(edit)] if other.path == edit.path]
        for other in earlier:
            text = text.replace(other.old, other.new)
        assert text.count(edit.old) == edit.times, f"{edit.path} has changed"
    assert [proof for proof in mutation.proofs if not (PROJECT / proof).exists()] == []
