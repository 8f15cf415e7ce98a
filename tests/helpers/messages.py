"""What every message for a user must be."""


def one_line(error):
    """The message of an error that pytest caught: one line, short enough to be read."""
    message = str(error.value)
    assert len(message.splitlines()) == 1, message
    assert len(message) < 400, message
    return message
