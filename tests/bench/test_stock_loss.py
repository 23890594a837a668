"""The claim about the stock pair stands as long as this passes."""

import pytest

from tests.bench import stock_loss


@pytest.mark.filterwarnings("ignore")
def test_the_stock_pair_loses_a_failing_message_and_ours_does_not(capsys):
    assert stock_loss.main([]) == 0
    assert "shown: the stock pair lost it" in capsys.readouterr().out
