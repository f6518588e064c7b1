"""What every command line of the project shares."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from nprep.errors import NprepError


def run(main: Callable[[Sequence[str] | None], int], argv: Sequence[str] | None = None) -> int:
    """Runs a command line and turns expected failures into an exit status.

    Args:
        main: The command; takes the arguments without the program name (None: ``sys.argv``) and
            returns the exit status.
        argv: The arguments, or None.

    Returns:
        The status of ``main``; 2 after an :class:`NprepError`, 130 after Ctrl-C.
    """
    try:
        return main(argv)
    except NprepError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output went away (for example `| head`): not an error of the run.
        sys.stderr.close()
        return 0
