"""``score-client``: the entry point. It imports next to nothing, so that small commands are quick."""

from __future__ import annotations

import codecs
import contextlib
import gc
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from score.cli import exits
from score.cli.interrupts import Interrupts
from score.errors import Cancelled, Invalid, ScoreError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_COMMANDS = {
    "upload": ("score.cli.transfers", "Upload files."),
    "download": ("score.cli.transfers", "Download objects, verified."),
    "verify": ("score.cli.verification", "Compare downloaded files with registry and store, and repair them."),
    "url": ("score.cli.transfers", "Print a URL of an object for any HTTP client."),
    "view": ("score.cli.view", "Show parts of files of reads and variants."),
    "mount": ("score.cli.mount", "Show objects as files of a folder."),
    "manifest": ("score.cli.manifest", "Fetch a manifest, print it, and check it."),
    "register": ("score.cli.registry", "Register the files of a folder as one analysis."),
    "publish": ("score.cli.registry", "Publish an analysis whose files are all uploaded."),
    "check": ("score.cli.check", "Try out addresses, token, clock, store and disk."),
    "config": ("score.cli.configuration", "Show all settings in force, and where each came from."),
    "info": ("score.cli.configuration", "Show the profile, the addresses, and whether there is a token."),
    "completion": ("score.cli.about", "Print what makes a shell complete commands and options."),
    "version": ("score.cli.about", "Show the version of this client."),
    "help": ("score.cli.about", "Show the help of a command."),
}
"""The modules of the commands, which are imported when they are asked for, and what the list says of each."""
_SETTING = re.compile(
    r"--[A-Za-z][A-Za-z0-9]*\.[A-Za-z0-9._-]+(=.*)?\Z|--(accessToken|accessTokenFile|defaultProfile)(=.*)?\Z"
)

_FLAGS = frozenset({"--quiet", "--silent", "--ansi", "--no-ansi"})
"""Options of the program that take no value."""


class Commands(click.Group):
    """The commands, each imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the help."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name not in _COMMANDS:
            return None
        command = getattr(import_module(_COMMANDS[cmd_name][0]), cmd_name)
        assert isinstance(command, click.Command)
        _told(command.get_help_option(ctx))
        return command

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """The option ``--help``."""
        return _told(super().get_help_option(ctx))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the words begin with. Raises UsageError, which names those that may be meant."""
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:
            raise click.exceptions.NoSuchCommand(error.command_name, None, _COMMANDS, ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of the help, without a command being imported."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, says) for name, (_, says) in _COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """What a word may become, without a command being imported."""
        from click.shell_completion import CompletionItem

        names = [
            CompletionItem(name, help=says) for name, (_, says) in _COMMANDS.items() if name.startswith(incomplete)
        ]
        return names + click.Command.shell_complete(self, ctx, incomplete)


def _telling(text: Callable[[click.Context], str]) -> Callable[[click.Context, click.Parameter, bool], None]:
    """What an option does that says something instead of what the command does."""

    def tell(ctx: click.Context, _: click.Parameter, given: bool) -> None:
        if given and not ctx.resilient_parsing:
            from score.cli.output import write

            write(text(ctx))
            ctx.exit()

    return tell


def _told(help: click.Option | None) -> click.Option | None:
    """Click's option, which there is one of for each command, writing as all else is written."""
    if help is not None:
        help.callback = _telling(click.Context.get_help)
    return help


def _version(_: click.Context) -> str:
    from score._version import described

    return f"score-client {described()}"


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Settings come from conf/application.properties, the environment (ACCESSTOKEN, STORAGE_URL, METADATA_URL) "
    "and the command line (--storage.url=http://localhost:8087). Exit status: "
    + "; ".join(f"{number} {meaning}" for number, meaning in exits.MEANINGS.items())
    + ".",
)
@click.option(
    "--profile",
    metavar="NAME",
    envvar="STORAGE_PROFILE",
    help="Take settings from application-NAME.properties as well (environment: STORAGE_PROFILE).",
)
@click.option("--quiet", is_flag=True, help="No progress display.")
@click.option("--silent", is_flag=True, help="No output but errors.")
@click.option("--ansi/--no-ansi", default=None, help="Colours and a moving display, whatever the terminal.")
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_telling(_version),
    help="Show the version, its commit, and exit.",
)
@click.pass_context
def cli(ctx: click.Context, profile: str | None, quiet: bool, silent: bool, ansi: bool | None) -> None:
    """Upload to, and download from, a Score server."""
    ctx.ensure_object(dict)
    ctx.obj["command"] = ctx.invoked_subcommand
    flags = {"client.quiet": quiet, "client.silent": silent, "client.ansi": ansi}
    ctx.obj["settings"] += [f"--{name}={str(on).lower()}" for name, on in flags.items() if on]
    if ansi is False:
        ctx.obj["settings"].append("--client.ansi=false")
    if profile:
        ctx.obj["settings"].append(f"--spring.profiles.active={profile}")


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words of a command, and the settings among them (``--storage.url=…``, ``--storage.url …``). Options of the
    program, which come before the name of the command, may come after it too."""
    common: list[str] = []
    words: list[str] = []
    settings: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*common, *words, word, *rest], settings
        if word in _FLAGS or word.startswith("--profile="):
            common.append(word)
        elif word == "--profile" and rest:
            common += [word, rest.pop(0)]
        elif (found := _SETTING.match(word)) is None:
            words.append(word)
        elif "=" in found.group() or not rest or rest[0].startswith("--"):  # never the value of the one before
            settings.append(word)
        else:
            settings.append(f"{word}={rest.pop(0)}")
    return [*common, *words], settings


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and end the process with its exit status."""
    interrupts = Interrupts()
    interrupts.install()
    _prepare_streams()
    gc.set_threshold(20_000, 10, 10)  # imports make no garbage, and the usual 700 is a tenth of their time
    try:
        status = _run(sys.argv[1:] if arguments is None else arguments, interrupts)
        interrupts.settle(status)
        if status == exits.INTERRUPTED:
            # Threads may still wait for the network; all state on the disk is as good as after any crash.
            with contextlib.suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)
    except KeyboardInterrupt:  # once more, while the first one was told of
        os._exit(exits.INTERRUPTED)
    gc.freeze()  # or the end of the process looks through all modules for garbage, which takes a tenth of a short one
    sys.exit(status)


def _prepare_streams() -> None:
    """Let standard streams that are closed lead nowhere: the next file would get their number, and what is written
    to the one it. Let no name stop standard output: bytes that are no text go out as they came in, and what another
    encoding than UTF-8 does not have as its number, as on standard error."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - it lasts as long as the program
    out = sys.stdout
    if isinstance(out, io.TextIOWrapper) and out.errors == "strict":
        is_utf8 = codecs.lookup(out.encoding).name == "utf-8"
        out.reconfigure(errors="surrogateescape" if is_utf8 else "backslashreplace")


def _run(arguments: Sequence[str], interrupts: Interrupts) -> int:
    """Run a command; its exit status."""
    words, settings = split(arguments)
    run: dict[str, Any] = {"settings": settings, "interrupts": interrupts}
    try:
        status = cli.main(args=words, prog_name="score-client", standalone_mode=False, obj=run)
        return status if isinstance(status, int) else exits.OK
    except click.ClickException as error:
        hint = f"score-client help {run.get('command') or ''}".rstrip()
        _end(run, Invalid(error.format_message(), hint=hint))
        with contextlib.suppress(OSError):
            error.show()
        return exits.USAGE
    except click.exceptions.Exit as error:
        return error.exit_code
    except ScoreError as error:
        _end(run, error)
        complain(error)
        return exits.of_error(error)
    except (KeyboardInterrupt, click.Abort):
        interrupted = Cancelled(
            "Interrupted; what is finished is kept.", hint="Run the same command again to go on from there."
        )
        _end(run, interrupted)
        _say(str(interrupted))
        return exits.INTERRUPTED
    except (BrokenPipeError, SystemExit) as error:
        if isinstance(error, SystemExit) and error.code != 1:
            raise  # click has answered a shell that completes a command
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # who read the output has seen enough; click says it by 1
        return exits.INTERRUPTED
    except Exception as error:  # the last line of defence: a defect is told as one, without a page of code
        defect = exits.Defect(
            f"a defect of this program: {type(error).__name__}. Nothing was reported done that is not.",
            hint="Set SCORE_DEBUG=1 to see where, and report it.",
        )
        _end(run, defect)
        if os.environ.get("SCORE_DEBUG"):
            raise
        complain(defect)
        return exits.INTERNAL


def complain(error: ScoreError) -> None:
    """Say what went wrong, and what to do."""
    _say(f"Error: {error.message}")
    if error.hint:
        _say(error.hint)


def _end(run: dict[str, Any], error: ScoreError) -> None:
    """From here on the exit status is that of the error; the last record tells it to programs that want records."""
    run["interrupts"].settle(exits.of_error(error))
    if not run.get("json"):
        return
    if "records" not in run:  # no work was begun
        from score.cli.records import Records

        run["records"] = Records(sys.stdout, run["command"])
    run["records"].end(exits.of_error(error), error)


def _say(text: str) -> None:
    """A line on standard error; where nobody listens any more, the exit status still tells."""
    with contextlib.suppress(OSError):
        click.echo(text, err=True)


if __name__ == "__main__":
    main()
