"""The command line: arguments in, views out. Thin: what commands do is in `planeshift.app`.

Output rules: data goes to standard output; progress, logs, warnings and errors to standard error. Colour only on a
terminal and without NO_COLOR; nothing is said by colour alone. No question is asked where there is no terminal.
Exit codes are `planeshift.errors.Exit`.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

import click

from planeshift.cli import view
from planeshift.cli.root import cli
from planeshift.errors import Exit, PlaneshiftError, Problem


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; every error is printed, none escapes."""
    try:
        outcome = cli.main(args=list(arguments), prog_name="planeshift", standalone_mode=False)
        return int(outcome) if isinstance(outcome, int) else Exit.DONE
    except PlaneshiftError as error:
        view.problems(error.problems)
        return error.exit_code
    except click.UsageError as error:
        error.show()
        return Exit.USAGE
    except click.ClickException as error:
        error.show()
        return Exit.FAILED
    except (click.Abort, KeyboardInterrupt):
        view.tell("stopped; the next `planeshift up` goes on from where this one was")
        return Exit.INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left; that is its right
        return Exit.DONE
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        why = f"{type(error).__name__} in {where.name} ({os.path.basename(where.filename)}:{where.lineno})"  # noqa: PTH119
        view.problems([Problem("PS901", "a bug of planeshift", why=why, hint="Report it, with `planeshift doctor`.")])
        if os.environ.get("PLANESHIFT_DEBUG"):
            traceback.print_exc()
        return Exit.BUG
