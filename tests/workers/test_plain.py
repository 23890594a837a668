"""Text from outside on a terminal: shown, and never acted upon."""

import pytest

from workers.plain import cell, plain

TEXTS = [
    ("Tow [flatbed] 40 km", "Tow [flatbed] 40 km"),
    ("Abschleppen für 5 €, 拖车", "Abschleppen für 5 €, 拖车"),
    ("two\nlines\tand a tab", "two lines and a tab"),
    ("\x1b[8mhidden", "\ufffd[8mhidden"),
    ("\x9b8mhidden", "\ufffd8mhidden"),
    ("\u202eturned round", "\ufffdturned round"),
    ("no\u00a0break\u2028line", "no break line"),
    ("nothing\x00", "nothing\ufffd"),
]


@pytest.mark.parametrize(("text", "shown"), TEXTS)
def test_what_acts_on_a_terminal_is_replaced_and_the_rest_is_as_it_was(text: str, shown: str):
    assert plain(text) == shown
    assert cell(text).plain == shown
    assert cell(text).spans == [], "no markup"
