"""Text from outside, made fit for a terminal: what a vendor or a colleague wrote is shown, and never acted upon."""

from rich.text import Text

_SHOWN_INSTEAD = "\N{REPLACEMENT CHARACTER}"


def plain(text: object) -> str:
    """Return text in one line without what moves, hides or turns round other text.

    Those are the control characters (C0 and C1, so every escape sequence) and the invisible ones that Unicode calls
    format characters, such as those that change the direction of writing (Unicode Technical Report 36, section 2.5).
    """
    return "".join(_shown(character) for character in str(text))


def cell(text: object) -> Text:
    """Return the same for a table, where square brackets would be markup."""
    return Text(plain(text))


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character.isspace() else _SHOWN_INSTEAD
