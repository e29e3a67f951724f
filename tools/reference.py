"""Writes the reference pages of docs/ from the code: every setting, every command with its options.

``reference.py`` writes them; ``reference.py --check`` says which are not as the code is, with exit status 1.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from score.cli import exits
from score.cli.main import cli
from score.client.settings import NAMES
from score.server.commands import COMMANDS
from score.server.settings import Settings
from score.testing import authorization

DOCS = Path(__file__).resolve().parent.parent / "docs"
MADE = "<!-- Made by tools/reference.py from the code; edit the code, then run it. -->"

SETTINGS = """\
Both programs read their settings from these places; a later one wins over an earlier one:

1. defaults
2. `application.yml`, `application.yaml`, `application.properties`, in the working folder, in its `conf/`, and at
   `--spring.config.location`; then `application-<profile>.*` likewise
3. `.env`, then `.env.score`, in the working folder or its `conf/`
4. the environment
5. the command line: `--name=value`

Names are relaxed: case, `.`, `-` and `_` do not matter, so `s3.accessKey`, `S3_ACCESSKEY` and `S3_ACCESS_KEY` are one
setting. Values may be quoted and may be followed by ` # a comment`. `${NAME}` and `${NAME:default}` are replaced.
A name that begins like a setting but is none is reported with the likeliest one that was meant."""

PROFILES = """\
`spring.profiles.active` (`SPRING_PROFILES_ACTIVE`) is a comma list. It decides where objects lie, and whether
callers need tokens. Without it the profile is `local`, unless anything of `s3.*`, `azure.*` or `bucket.*` is set:
that means an object store, so that nobody writes to a disk unawares.

| profile | what it does |
|---|---|
| `local` | Objects and registry on the disk of the server |
| `default`, `s3`, `aws`, `amazon`, `collaboratory` | Objects in an S3 store, metadata from Song |
| `secure` | Callers need API keys or JWTs ([how to](authorization.md)) |
| `azure` | Objects in a container of Azure ([how to](stores/azure.md)), metadata from Song |
| `ssl` | The server speaks TLS itself, with a certificate of `server.ssl.*` |
| `prod`, `dev` | Change nothing |

A server that is asked for something that is not built yet says so and does not start: `server.ssl.bundle`."""

FOREIGN = """\
`mount.logging`, which the reference's client has, is accepted and read by nothing yet."""


def table(*head: str) -> list[str]:
    """The head of a table."""
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]


def cell(text: str) -> str:
    """A text that does not end its cell."""
    return text.replace("|", "\\|")


def default_of(name: str) -> str:
    """The default of a server's setting, as it is written."""
    value = Settings.model_fields[name].default
    plain = value.get_secret_value() if hasattr(value, "get_secret_value") else value
    if isinstance(plain, bool):
        return str(plain).lower()
    return ",".join(plain) if isinstance(plain, tuple) else str(plain)


def server_settings() -> Iterator[str]:
    """A table of the server's settings."""
    yield from table("setting", "default", "meaning")
    for name, field in Settings.model_fields.items():
        if field.alias:
            default = default_of(name)
            yield f"| `{field.alias}` | {f'`{default}`' if default else ''} | {cell(field.description or '')} |"


def client_settings() -> Iterator[str]:
    """A table of the client's settings."""
    yield from table("setting", "meaning (default)")
    for name, meaning in NAMES.items():
        yield f"| `{name}` | {cell(meaning[0].upper() + meaning[1:])} |"


def settings_page() -> str:
    """docs/settings.md."""
    server = ["## score-server", "", PROFILES, "", *server_settings()]
    client = ["## score-client", "", *client_settings()]
    return "\n".join([MADE, "", "# Settings", "", SETTINGS, "", *server, "", *client, ""])


def option(parameter: click.Parameter, context: click.Context) -> Iterator[str]:
    """The line of a table for an option; nothing for a parameter that is not shown."""
    record = parameter.get_help_record(context)
    if record is not None and record[1] and "--help" not in parameter.opts:
        yield f"| `{cell(record[0])}` | {cell(record[1])} |"


def command(name: str, found: click.Command) -> Iterator[str]:
    """A section on one command."""
    context = click.Context(found, info_name=name, **cli.context_settings)
    yield from ["", f"## {name}", "", *(line.strip() for line in (found.help or "").strip().splitlines())]
    lines = [line for parameter in found.get_params(context) for line in option(parameter, context)]
    if lines:
        yield from ["", *table("option", "meaning"), *lines]


def commands_page() -> str:
    """docs/commands.md."""
    context = click.Context(cli, info_name="score-client", **cli.context_settings)
    lines = [MADE, "", "# Commands of score-client", "", "Before the command:", "", *table("option", "meaning")]
    lines += [line for parameter in cli.get_params(context) for line in option(parameter, context)]
    lines += [
        "",
        "`--help`, or `-h`, after a command shows its options.",
        "",
        "[Settings](settings.md) may be given among the options: `--storage.url=http://localhost:8087`.",
    ]
    lines += ["Data goes to standard output, everything else to standard error."]
    for name in cli.list_commands(context):
        found = cli.get_command(context, name)
        assert found is not None
        lines += command(name, found)
    lines += ["", "## Exit statuses", "", *table("status", "meaning")]
    lines += [f"| {status} | {cell(meaning)} |" for status, meaning in exits.MEANINGS.items()]
    lines += ["", "# Commands of score-server", "", "Without a command the server runs. "]
    lines[-1] += "[Settings](settings.md) come from the same places for all of them, or as `--name=value`."
    lines += ["Their exit status is 0, or 1 where something is wrong.", "", *table("command", "meaning")]
    lines += [f"| `{f'{name} {options}'.strip()}` | {cell(says)} |" for name, (options, says) in COMMANDS.items()]
    return "\n".join([*lines, ""])


ACCESS = """\
Which token may do what, under the profile `secure` ([how to set it up](authorization.md)). Numbers are statuses of
HTTP: 200 done, 401 no valid token (with `WWW-Authenticate`), 403 a valid one without the scope. Every cell is asked
of running servers, with Ego, with Keycloak and with embedded keys, in `tests/e2e/test_authorization_matrix.py`. The
files belong to the study TEST-CA; scopes are the default ones. Where the three differ, the number is that of Ego,
and the others are named. Tickets of reads (`/htsget/reads/{id}`) need what those of variants need."""


def access_page() -> str:
    """docs/authorization-table.md."""
    return "\n".join([MADE, "", "# Who may do what", "", ACCESS, "", *authorization.table(), ""])


PAGES = {"settings.md": settings_page, "commands.md": commands_page, "authorization-table.md": access_page}


def main(arguments: Sequence[str]) -> int:
    """Write the pages, or check them."""
    stale = []
    for name, make in PAGES.items():
        page = DOCS / name
        if not page.exists() or page.read_text("utf-8") != make():
            stale.append(name)
            if "--check" not in arguments:
                page.write_text(make(), "utf-8")
    if stale:
        print(("Not as the code is: " if "--check" in arguments else "Written: ") + ", ".join(stale))
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
