"""The command line. Commands are imported when they are called, so that ``--help`` does not wait for torch."""

import difflib
import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

import percloss as package
from percloss.errors import PerclossError

__all__ = ["INTERRUPTED", "debugging", "emit", "percloss"]

COMMANDS = {
    "score": ("percloss.cli.score:score", "Score files against their references."),
    "compare": ("percloss.cli.compare:compare", "Say which of two systems is better, and whether the data can tell."),
    "correlate": ("percloss.cli.correlate:correlate", "Say how far measures follow the listeners of a test."),
    "degrade": ("percloss.cli.degrade:degrade", "Spoil files in chosen ways, all exactly as much."),
    "mad": ("percloss.cli.mad:mad", "Make two versions that one measure calls equal and another does not."),
    "report": (
        "percloss.cli.report:report",
        "Write a page to listen to estimates and see where their errors are heard.",
    ),
    "disparity": (
        "percloss.cli.disparity:disparity",
        "Train one network with many losses, and see which measure prefers which.",
    ),
    "list": ("percloss.cli.catalogue:list_", "List the measures."),
    "info": ("percloss.cli.catalogue:info", "Say what a measure is: claims, equation, settings, source."),
    "cite": ("percloss.cli.catalogue:cite", "Print the BibTeX of what a measure is from."),
    "demo": ("percloss.cli.demo:demo", "Score embedded clips spoilt in many ways, and write a report."),
}
"""Name, where it is, and what it does."""

BROKEN_PIPE = 128 + 13
INTERRUPTED = 130
INTERNAL = 70


class Refused(click.ClickException):
    """What is printed, as one line, instead of a traceback."""

    exit_code = 2


class _Fault(Refused):
    exit_code = INTERNAL


def _remember(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        context.find_root().meta["percloss.debug"] = True


def emit(text: str) -> None:
    """Data to stdout: UTF-8 in any locale, and to the last byte also where stdout is unbuffered and a pipe is full."""
    stream = sys.stdout.buffer
    left = memoryview(text.encode("utf-8", "backslashreplace"))
    while left:
        left = left[stream.write(left) :]
    stream.flush()


def debugging(context: click.Context) -> bool:
    """Whether ``--debug`` was given."""
    return bool(context.find_root().meta.get("percloss.debug"))


class Commands(click.Group):
    """A group that imports a command when it is called, and turns every error into one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        if not any(option.name == "debug" for option in command.params):
            command.params.append(
                click.Option(
                    ["--debug"],
                    is_flag=True,
                    is_eager=True,
                    expose_value=False,
                    callback=_remember,
                    help="Show where an error came from.",
                )
            )
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that was typed, or propose the nearest."""
        near = difflib.get_close_matches(args[0], COMMANDS, n=1)
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(COMMANDS)}."
            ctx.fail(f"No such command {args[0]!r}. {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table, without importing what it points to."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, words) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what it returns is the exit code."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except PerclossError as error:
            if debugging(ctx):
                raise
            raise Refused(str(error)) from error
        except BrokenPipeError:
            _close_pipe()
            return BROKEN_PIPE
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if debugging(ctx):
                raise
            text = f"{type(error).__name__}: {error}".strip().splitlines()[0]
            raise _Fault(f"unforeseen {text}; --debug says where. Please report it.") from error
        return result

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run, print what went wrong as one line, and exit."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        try:
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            code = error.exit_code
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx else "percloss"
            click.echo(f"percloss: error: {error.format_message()} Try: {command} --help", err=True)
            code = error.exit_code
        except click.ClickException as error:
            click.echo(f"percloss: error: {error.format_message()}", err=True)
            code = error.exit_code
        except click.Abort:
            click.echo("percloss: interrupted", err=True)
            code = INTERRUPTED
        sys.exit(code if isinstance(code, int) else 0)


def _close_pipe() -> None:
    """Nobody reads any more: let what is still in the buffer go nowhere, without a word at exit."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package.__version__, prog_name="percloss", message="%(prog)s %(version)s")
def percloss() -> None:
    r"""Perceptual measures of audio: score files, look up what a number means.

    \b
    percloss score enhanced/ --ref clean/
    percloss score a.wav b.wav --ref clean.wav -m si_sdr,pesq_wb
    percloss compare old/ new/ --ref clean/ -m si_sdr,pesq_wb
    percloss list

    Data go to stdout, messages to stderr. Exit codes: 0 all scored, 1 a check that was required failed, 2 usage, 3 some
    files or scores are missing, 130 interrupted.
    """
