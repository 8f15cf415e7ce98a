"""What the caller got wrong. The command line turns these, and no other errors, into one line and exit code 2."""


class InputError(ValueError):
    """A value that cannot be used; the message names the value and the limit."""


class NotYetError(InputError, NotImplementedError):
    """A part of BERT that the configuration can name and numbert does not have yet."""


def abridged(names: list[str], most: int = 5) -> str:
    """Names for a message: the first few, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
