"""Writes the reference pages of docs/ from the code: settings, commands, exit statuses, calls, errors, rights.

``reference.py`` writes them; ``reference.py --check`` says which are not as the code is, with exit status 1.
"""

from __future__ import annotations

import ast
import json
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from score import errors
from score.broker.htsget import refusals
from score.cli import exits
from score.cli.main import cli
from score.client.settings import NAMES
from score.server import problems
from score.server.build import open_service
from score.server.commands import COMMANDS
from score.server.settings import Settings, written
from score.testing import authorization
from score.testing.server import RunningServer

DOCS = Path(__file__).resolve().parent.parent / "docs"
MADE = "<!-- Made by tools/reference.py from the code; edit the code, then run it. -->"

SETTINGS = """\
Both programs read their settings from these places; a later one wins over an earlier one:

1. defaults
2. `application.yml`, `application.yaml`, `application.properties`, in the working folder, in its `config/`, in its
   `conf/`, and at `spring.config.location` and `spring.config.additional-location` (files and folders, from the
   environment or the command line); then `application-<profile>.*` likewise
3. `.env`, then `.env.score`, in the working folder or its `conf/`
4. the environment
5. `SPRING_APPLICATION_JSON`: all of it, or a part, as JSON in one variable
6. the command line: `--name=value`

Names are relaxed: case, `.`, `-` and `_` do not matter, so `s3.accessKey`, `S3_ACCESSKEY` and `S3_ACCESS_KEY` are one
setting. Values may be quoted and may be followed by ` # a comment`. `${NAME}` and `${NAME:default}` are replaced; a
name there may be that of a setting, of a variable, or any other one that a file has.
A name that begins like a setting but is none is reported with the likeliest one that was meant."""

PROFILES = """\
`spring.profiles.active` (`SPRING_PROFILES_ACTIVE`) is a comma list. It decides where objects lie, and whether
callers need tokens. Profiles of `spring.profiles.include` come to it, and the members of
`spring.profiles.group.<profile>`; `spring.profiles.default` counts where none is active. Without any the profile is
`local`, unless anything of `s3.*`, `azure.*` or `bucket.*` is set: that means an object store, so that nobody writes
to a disk unawares.

| profile | what it does |
|---|---|
| `local` | Objects and registry on the disk of the server |
| `default`, `s3`, `aws`, `amazon`, `collaboratory` | Objects in an S3 store, metadata from Song |
| `secure` | Callers need API keys or JWTs ([how to](authorization.md)) |
| `azure` | Objects in a container of Azure ([how to](stores/azure.md)), metadata from Song |
| `ssl` | The server speaks TLS itself, with a certificate of `server.ssl.*` |
| `prod`, `dev` | Change nothing |

A server that is asked for something that is not built yet says so and does not start: `server.ssl.bundle`,
`spring.config.import`, `spring.config.name`."""

VARIABLES = """\
Of the environment `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` count too, and `SSL_CERT_FILE` and
`SSL_CERT_DIR`, as with other programs, and `SCORE_DEBUG=1`, which shows the place of a defect."""


def table(*head: str) -> list[str]:
    """The head of a table."""
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]


def cell(text: str) -> str:
    """A text that does not end its cell."""
    return text.replace("|", "\\|")


def server_settings() -> Iterator[str]:
    """A table of the server's settings."""
    yield from table("setting", "default", "meaning")
    for field in Settings.model_fields.values():
        if field.alias:
            default = written(field.default)
            yield f"| `{field.alias}` | {f'`{default}`' if default else ''} | {cell(field.description or '')} |"


def client_settings() -> Iterator[str]:
    """A table of the client's settings."""
    yield from table("setting", "meaning (default)")
    for name, meaning in NAMES.items():
        yield f"| `{name}` | {cell(meaning[0].upper() + meaning[1:])} |"


def settings_page() -> str:
    """docs/settings.md."""
    server = ["## score-server", "", PROFILES, "", *server_settings()]
    client = ["## score-client", "", *client_settings(), "", VARIABLES]
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
    lines = [
        MADE,
        "",
        "# Commands of score-client",
        "",
        "Before the command, or (all but `--version`) after it:",
        "",
        *table("option", "meaning"),
    ]
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
    lines += [
        f"| `{cell(f'{name} {options}'.strip())}` | {cell(says)} |" for name, (options, says) in COMMANDS.items()
    ]
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


STATUSES = """\
A command of `score-client` ends with one of these, so that scripts and workflow engines can tell what happened. Of
several items the status is 3 where one fails, whatever the reason, with these exceptions: 6 and 10 end the whole
command, and it is 5 where every failure is one that may pass, so that it is worth running the same command again.
`score-server` ends with 0 after an orderly end, and with 1 where it could not start or where one of its
[commands](commands.md) found something wrong."""

ADVICE = {
    exits.OK: "nothing",
    exits.INTERNAL: "run it again with `SCORE_DEBUG=1`, and report what it shows",
    exits.USAGE: "read the message; it names the option, setting or line",
    exits.SOME_FAILED: "look at what is named; run the same command again for what may pass",
    exits.NOT_FOUND: "check the ids, and whether the analysis is published",
    exits.TEMPORARY: "run the same command again, later; what is finished is kept",
    exits.UNAUTHENTICATED: "get a new token",
    exits.FORBIDDEN: "ask for the scope that the message names",
    exits.INTEGRITY: "run it again; if it stays so, tell whoever submitted the file",
    exits.NOTHING_TO_DO: "nothing",
    exits.NO_SPACE: "make room, then run the same command again",
    exits.INTERRUPTED: "run the same command again",
}
"""What to do after each end."""


def statuses_page() -> str:
    """docs/exit-statuses.md."""
    rows = [f"| {status} | {cell(says)} | {ADVICE[status]} |" for status, says in exits.MEANINGS.items()]
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and kind is not errors.ScoreError]
    by_error = [
        f"| [{kind.__name__}](errors.md#{kind.__name__.lower()}) | {exits.of_error(kind(''))} |" for kind in kinds
    ]
    lines = [MADE, "", "# Exit statuses", "", STATUSES, "", *table("status", "meaning", "what to do"), *rows]
    lines += [
        "",
        "The status of one item that failed, by the kind of its error:",
        "",
        *table("error", "status"),
        *by_error,
    ]
    return "\n".join([*lines, ""])


CALLS = """\
The calls of a running server. The server describes them itself, for people at `/swagger-ui.html` and for programs
(OpenAPI) at `/v2/api-docs`. Parameters are query parameters; those in italics may be left out. Which token may call
what: [the table](authorization-table.md). Every refusal has a JSON body with `timestamp`, `status`, `error`,
`path`, `message` and `requestId` (of htsget: the body of its specification), and every answer has a header
`X-Request-Id`; what the messages mean is on the [page of errors](errors.md). Where GET is answered, HEAD is too.

| status | meaning to a client |
|---|---|
| 400, 404 | do not repeat this call; an upload restarts or stops |
| 401, 403, 500 | stop |
| 503 and all others | repeat, after `Retry-After` seconds where the answer says so |"""

REFUSALS = """\
The status of each kind of error; what each can say is on the [page of errors](errors.md). An object that exists and
is not to be replaced is a 500, and so is a range that ends beyond an object: clients of the reference stop on that.
503 comes with `Retry-After` where it is known when to ask again."""

BESIDE = """\
Health, descriptions, [the page](page.md) and what its scripts ask; and what a server with the local store answers
beside the protocol: signed URLs of its objects, and the part of Song's API that the embedded registry has."""


PROBES = (
    "/actuator/health",
    "/actuator/health/liveness",
    "/actuator/health/readiness",
    "/health",
    "/live",
    "/metrics",
    "/ready",
)


def served() -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """What a server with a local store says of its calls, and its routes beside those: methods and path."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(local_directory=Path(folder), profiles=("local",))
        routes: list[Any] = []

        async def open_one() -> Any:
            service = await open_service(settings)
            routes.extend(service.routes)
            return service

        with (
            RunningServer(open_one, settings) as server,
            urllib.request.urlopen(f"{server.url}/v2/api-docs", timeout=30) as answer,
        ):
            described = json.load(answer)
    # The data plane tells methods apart itself; a slash at the end is another spelling.
    known = {route.path.rstrip("/"): sorted(set(route.methods or ("GET", "PUT")) - {"HEAD"}) for route in routes}
    beside = [(", ".join(methods), path) for path, methods in known.items()]
    asked = [f"/page/{name}" for name in ("health", "studies", "analyses", "contents", "uploads", "files/{name}")]
    own = [*PROBES, "/", *asked]
    return described, [*(("GET", path) for path in own), *beside]


def parameter(described: dict[str, Any]) -> str:
    """A parameter of a call, with what is said of it."""
    name = f"`{described['name']}`"
    says = described.get("description", "").rstrip(".")
    shown = name if described.get("required") else f"*{name}*"
    if says[1:2].islower():
        says = says[0].lower() + says[1:]
    return f"{shown} ({says})" if says else shown


def calls_page() -> str:
    """docs/http-api.md."""
    described, beside = served()
    lines = [
        MADE,
        "",
        "# HTTP API",
        "",
        CALLS,
        "",
        "## Refusals",
        "",
        REFUSALS,
        "",
        *table("status", "error", "when"),
    ]
    for status, name, kind in sorted((problems.status_of(kind("")), name, kind) for name, kind in KINDS.items()):
        if name in vars(errors):
            says = " ".join((kind.__doc__ or "").split())
            lines.append(f"| {status} | [{name}](errors.md#{name.lower()}) | {cell(says)} |")
    groups: dict[str, list[str]] = {}
    for path, calls in described["paths"].items():
        for method, call in calls.items():
            parameters = ", ".join(parameter(one) for one in call.get("parameters", ()) if one["in"] == "query")
            says = " ".join(call.get("description", "").split())
            row = f"| `{method.upper()} {path}` | {cell(parameters)} | {cell(says)} |"
            groups.setdefault((call.get("tags") or ["service"])[0], []).append(row)
    for name, rows in groups.items():
        lines += ["", f"## {name.capitalize()}", "", *table("call", "parameters", "what it does"), *rows]
    lines += ["", "## Beside these", "", BESIDE, "", *table("method", "path")]
    lines += [f"| {methods} | `{path}` |" for methods, path in beside]
    return "\n".join([*lines, ""])


ERRORS = """\
What the programs say when something ends badly, by the kind of the error, so that a message can be searched for on
this page. `<...>` stands for what differs: ids, names, numbers. The first column is the message, the second what it
advises; *server* messages are in answers of the server (and so in what clients print of them) and in its log,
*client* ones come from `score-client` and the SDK, where each kind is a class of `score.errors`."""

CLIENT = ("cli", "client", "filesystem", "mount", "reading", "slicing", "transfer")
SERVER = ("auth", "broker", "metadata", "server", "storage")
KINDS = {
    name: kind
    for module in (errors, refusals)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and issubclass(kind, errors.ScoreError) and kind is not errors.ScoreError
}


class Texts:
    """What expressions of one module say, as far as that can be told without running it."""

    def __init__(self, module: str, tree: ast.Module) -> None:
        self._module = module
        names = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id.isupper()]
        self._constants = {node.id for node in names}

    def of(self, node: ast.expr) -> str:
        """The text of an expression, with ``<name>`` for what differs; empty where nothing can be told."""
        match node:
            case ast.Constant(value=str(text)):
                return text
            case ast.JoinedStr(values=values):
                return "".join(self.of(value) for value in values)
            case ast.FormattedValue(value=value):
                return self.of(value) if isinstance(value, ast.Constant) else f"<{name_of(value)}>"
            case ast.BinOp(op=ast.Add(), left=left, right=right):
                return self.of(left) + self.of(right)
            case ast.Name(id=name) if name in self._constants:
                value = getattr(import_module(self._module), name, "")
                return value if isinstance(value, str) else ""
        return ""


def name_of(node: ast.expr) -> str:
    """A word for an expression: its last name."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.strip("_").replace("_", " ")
        case ast.Subscript(value=value) | ast.Call(func=ast.Attribute(value=value)) | ast.BinOp(left=value):
            return name_of(value)
        case ast.Call(func=ast.Name(), args=[first, *_]):
            return name_of(first)
    return "..."


def messages() -> Iterator[tuple[str, str, str, str]]:
    """Of every error that the code raises with a text: its kind, whose it is, the message, the advice."""
    source = DOCS.parent / "src"
    for path in sorted(source.glob("score/**/*.py")):
        module = ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__")
        part = module.split(".")[1] if "." in module else ""
        if part == "testing":
            continue
        whose = "client" if part in CLIENT else "server" if part in SERVER else "both"
        tree = ast.parse(path.read_text("utf-8"))
        texts = Texts(module, tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute) and node.args:
                kind = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
                hint = next((texts.of(word.value) for word in node.keywords if word.arg == "hint"), "")
                text = texts.of(node.args[0])
                if kind in KINDS and len(text.replace("<", "").split()) > 1:
                    yield kind, whose, text, hint


def code(text: str) -> str:
    """A text as code in a cell of a table, whatever signs it has."""
    mark = "``" if "`" in text else "`"
    return f"{mark}{cell(' '.join(text.split()))}{mark}" if text else ""


def errors_page() -> str:
    """docs/errors.md."""
    found = sorted(set(messages()), key=lambda one: (one[2].lower(), one))
    lines = [MADE, "", "# Error messages", "", ERRORS]
    for name, kind in KINDS.items():
        says = " ".join((kind.__doc__ or "").split())
        where = f"HTTP status {problems.status_of(kind(''))}" if name in vars(errors) else "A refusal of htsget"
        lines += ["", f"## {name}", "", f"{says} {where}; exit status {exits.of_error(kind(''))} of `score-client`."]
        rows = [f"| {code(text)} | {code(hint)} | {whose} |" for of, whose, text, hint in found if of == name]
        if rows:
            lines += ["", *table("message", "what to do", "of"), *rows]
    return "\n".join([*lines, ""])


PAGES = {
    "settings.md": settings_page,
    "commands.md": commands_page,
    "authorization-table.md": access_page,
    "exit-statuses.md": statuses_page,
    "http-api.md": calls_page,
    "errors.md": errors_page,
}


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
