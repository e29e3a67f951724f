"""The page for users of the Java client: each of its commands, options, defaults and settings is one here too."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from score.cli import exits
from score.cli.main import cli
from score.client.outcome import State
from score.client.settings import Settings, read, settings

PAGE = Path(__file__).resolve().parents[2] / "docs" / "coming-from-java.md"

COMMANDS = {
    "upload": "manifest= object-id= file= md5= force verify-connection=true",
    "download": "manifest= object-id= analysis-id= study-id= program-id= output-dir= output-layout=filename offset=0 "
    "length=-1 index=true force validate=true verify-connection=true",
    "url": "object-id=",
    "manifest": "manifest=",
    "info": "verbose",
    "version": "",
    "help": "",
    "mount": "mount-point= manifest= layout=bundle cache-metadata daemonize options= verify-connection=true",
    "view": "object-id= input-file= input-file-index= manifest= query= bed-query= contained header-only "
    "output-original-header output-format= output-type=trimmed output-dir= output-index stdout reference-file= "
    "verify-connection=true",
}
"""Of the reference's client: what takes a value has ``=``, and its default behind it."""
FLAGS = "profile= quiet silent version"
SETTINGS = {
    "accessToken": "",
    "storage.url": "http://localhost:1",
    "storage.retryNumber": "10",
    "storage.retryTimeout": "1",
    "storage.profile": "default",
    "metadata.url": "http://localhost:1",
    "metadata.ssl.enabled": "true",
    "portal.url": "",
    "client.accessToken": "",
    "client.ansi": "",
    "client.silent": "false",
    "client.quiet": "false",
    "client.connectTimeoutSeconds": "60",
    "client.readTimeoutSeconds": "60",
    "client.uploadStateDir": "",
    "client.ssl.custom": "false",
    "client.ssl.trustStore": "",
    "client.ssl.trustStoreType": "JKS",
    "client.ssl.trustStorePassword": "",
    "client.ssl.trustName": "",
    "client.ssl.keyStore": "",
    "client.ssl.keyStoreType": "JKS",
    "client.ssl.keyStorePassword": "",
    "client.ssl.keyAlias": "",
    "transport.parallel": "6",
    "transport.memory": "1",
    "transport.fileFrom": "memory",
    "mount.logging": "false",
    "azure.blockSize": "104857600",
    "defaultProfile": "s3",
    "download.partSize": "1073741824",
    "token.public-key": "x",
    "logging.file": "target/logs/client.log",
    "isTest": "false",
}
"""Of the reference's client, with its defaults; nothing where the page tells of another one."""


def parameters(command: click.Command) -> dict[str, click.Option]:
    """The options of a command by their names."""
    return {name: one for one in command.params if isinstance(one, click.Option) for name in one.opts}


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_every_option_is_one_here_and_has_the_same_default(name: str) -> None:
    context = click.Context(cli)
    command = cli.get_command(context, name) if name else cli
    assert command is not None
    known = parameters(command)
    for word in (COMMANDS[name] if name else FLAGS).split():
        option, takes, default = word.partition("=")
        found = known[f"--{option}"]
        assert found.is_flag is not bool(takes), word
        if default:
            assert str(found.get_default(click.Context(command))).lower() == default, word


@pytest.mark.parametrize("value", ["object-id", "object_id", "OBJECT_ID"])
def test_the_layout_of_a_mount_may_be_written_as_the_references_takes_it(value: str) -> None:
    command = cli.get_command(click.Context(cli), "mount")
    assert command is not None
    layout = parameters(command)["--layout"]
    assert layout.type.convert(value, layout, click.Context(command)) == "object-id"


def test_every_setting_is_one_here_and_has_the_same_default(tmp_path: Path) -> None:
    """None is warned of, wherever it stands."""
    (tmp_path / "application.properties").write_text("".join(f"{one}={value}\n" for one, value in SETTINGS.items()))
    variables = {re.sub(r"[.-]", "_", one).upper(): value for one, value in SETTINGS.items()}
    url = SETTINGS["storage.url"]
    for arguments, environ, folder in (([], variables, tmp_path / "none"), ([], {}, tmp_path)):
        values = read(arguments, environ, folder)
        assert values.unknown == ()
        assert all("client.accessToken" in one or "CLIENT_ACCESSTOKEN" in one for one in values.warnings)
        assert settings(values) == Settings(url, url)


def test_what_the_page_says_of_records_is_so() -> None:
    text = " ".join(PAGE.read_text("utf-8").split())
    (states,) = re.findall(r"`state` is one of (.+?):", text)
    assert set(re.findall(r"`(.+?)`", states)) == set(State)
    assert {int(one) for one in re.findall(r"exit status (\d+)", text)} <= exits.MEANINGS.keys()
