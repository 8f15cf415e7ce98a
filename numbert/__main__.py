"""`python -m numbert` is the command `numbert`."""

from numbert.cli import main

if __name__ == "__main__":
    main()
