"""Settings as a user sees them: ``info``, ``config``, and where they may come from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from score.client.settings import NAMES
from score.testing.score import FaultyScore
from score.testing.song import FakeSong

OBJECT = "5c0eca11-0000-4000-8000-000000000020"
Run = Callable[..., tuple[int, str, str]]


class TestInfo:
    def test_in_short(self, run: Run, folder: Path, site: FaultyScore, song: FakeSong) -> None:
        status, out, err = run("info")
        assert (status, err) == (0, "")
        assert out.splitlines() == [
            "Profile:      default",
            f"Storage URL:  {site.url}",
            f"Metadata URL: {song.url}",
            "Access token: set (application.properties:3)",
        ]
        assert site.traffic.seen() == []

    def test_at_length(self, run: Run, folder: Path) -> None:
        status, out, _ = run("info", "--verbose", "--transport.parallel=3")
        assert status == 0
        assert "  accessToken=******  # application.properties:3" in out
        assert "  transport.parallel=3  # option --transport.parallel" in out
        assert "connectTimeoutSeconds" not in out

    def test_of_a_profile(self, run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / "application-collab.properties").write_text("storage.url=https://score.example.org\n")
        for words in (["--profile", "collab"], ["--profile=collab"]):
            out = run(*words, "info")[1]
            assert "Profile:      collab" in out
            assert "Storage URL:  https://score.example.org" in out
        monkeypatch.setenv("STORAGE_PROFILE", "collab")
        status, out, err = run("info")
        assert (status, err) == (0, "")
        assert "Profile:      collab" in out

    def test_with_nothing_set_each_name_is_told(self, run: Run, folder: Path) -> None:
        (folder / "application.properties").unlink()
        status, out, _ = run("info")
        assert status == 0
        assert "Storage URL:  not set (storage.url, STORAGE_URL, --storage.url)" in out
        assert "Access token: not set (accessToken, ACCESSTOKEN, --accessToken)" in out

    def test_for_programs(self, run: Run, folder: Path, site: FaultyScore) -> None:
        document = json.loads(run("info", "--json")[1])
        assert document["v"] == 1
        found = {one["name"]: one for one in document["settings"]}
        assert found["storage.url"] == {
            "name": "storage.url",
            "value": site.url,
            "from": "application.properties:1",
        }
        assert found["accessToken"]["value"] == "******"


class TestAdvice:
    def test_of_a_token_file_that_others_can_read_whoever_runs_a_command_is_warned(
        self, run: Run, folder: Path, registered: None
    ) -> None:
        properties = folder / "application.properties"
        text = properties.read_text()
        properties.write_text("".join(line for line in text.splitlines(True) if not line.startswith("accessToken=")))
        (folder / "token").write_text("720dffc1-628f-49f2-992f-f09b8ba2ae2a\n")
        words = ("url", "--object-id", "5c0eca11-0000-4000-8000-000000000020", "--accessTokenFile=token")
        for mode, warned in ((0o644, True), (0o600, False)):
            (folder / "token").chmod(mode)
            status, out, err = run(*words)
            assert (status, out.count("\n")) == (0, 1)
            assert ("Warning: accessTokenFile: token can be read by others." in err) == warned
            assert ("chmod 600 token" in err) == warned


class TestConfig:
    def test_every_setting_with_its_origin(self, run: Run, folder: Path, site: FaultyScore) -> None:
        status, out, _ = run("config")
        assert status == 0
        lines = {line.partition("=")[0]: line for line in out.splitlines()[1:]}
        assert lines.keys() == NAMES.keys()
        assert lines["storage.retryNumber"].split() == ["storage.retryNumber=2", "#", "application.properties:4"]
        assert lines["transport.parallel"].split() == ["transport.parallel=6", "#", "default"]
        assert lines["portal.url"].split() == ["portal.url=", "#", "not", "set"]
        assert site.traffic.seen() == []

    @pytest.mark.parametrize("name", ["accessToken", "client.ssl.trustStorePassword", "client.ssl.keyStorePassword"])
    def test_secrets_are_masked(self, run: Run, folder: Path, name: str) -> None:
        status, out, err = run("config", f"--{name}=nobody-may-read-this")
        assert status == 0
        assert "nobody-may-read-this" not in out + err
        assert f"{name}=******" in out

    def test_what_is_missing_is_told(self, run: Run, folder: Path) -> None:
        (folder / "application.properties").unlink()
        status, out, _ = run("config")
        assert status == 2
        assert "missing: No address of a Score server is set." in out
        document = json.loads(run("config", "--json")[1])
        assert document["missing"].startswith("No address")

    def test_warnings(self, run: Run, folder: Path) -> None:
        assert "warning: storage.uri (option --storage.uri)" in run("config", "--storage.uri=x")[1]

    def test_a_wrong_value(self, run: Run, folder: Path) -> None:
        status, _, err = run("config", "--transport.parallel=many")
        assert status == 2
        assert "transport.parallel (option --transport.parallel) is 'many'" in err


class TestSources:
    """The reference's names, from each place where the reference takes them."""

    @pytest.fixture(autouse=True)
    def nothing(self, folder: Path) -> None:
        (folder / "application.properties").unlink()

    def value(self, run: Run, name: str, *words: str) -> tuple[str, str]:
        document = json.loads(run("config", "--json", *words)[1])
        found = next(one for one in document["settings"] if one["name"] == name)
        return found["value"], found["from"]

    def test_the_file_that_the_reference_ships(self, run: Run, folder: Path) -> None:
        (folder / "conf").mkdir()
        (folder / "conf" / "application.properties").write_text(
            "accessToken=\n#metadata.url=https://song\nstorage.url=https://score.example.org\n#transport.parallel=6\n"
        )
        assert self.value(run, "storage.url") == ("https://score.example.org", "conf/application.properties:3")
        assert self.value(run, "accessToken")[1] == "not set"
        assert self.value(run, "metadata.url") == ("https://score.example.org", "storage.url")

    def test_the_environment_wins_over_files_and_options_over_both(
        self, run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (folder / "application.properties").write_text("storage.url=http://file:1\nmetadata.url=http://file:2\n")
        monkeypatch.setenv("STORAGE_URL", "http://environment:1")
        monkeypatch.setenv("ACCESSTOKEN", "a-token-of-the-environment")
        assert self.value(run, "storage.url") == ("http://environment:1", "environment STORAGE_URL")
        assert self.value(run, "metadata.url") == ("http://file:2", "application.properties:2")
        assert self.value(run, "accessToken") == ("******", "environment ACCESSTOKEN")
        assert self.value(run, "storage.url", "--storage.url=http://option:1")[0] == "http://option:1"

    def test_other_names_of_the_reference(self, run: Run, folder: Path) -> None:
        (folder / "application.yml").write_text("client:\n  accessToken: some-long-token\nstorage:\n  profile: x\n")
        assert self.value(run, "accessToken") == ("******", "application.yml:2")
        _, out, err = run("config")
        assert "storage.profile" not in out + err
        assert "client.accessToken (application.yml:2) is taken as accessToken" in out

    @pytest.mark.parametrize("words", [["url", "--object-id", OBJECT], ["check"], ["verify", "--output-dir", "o"]])
    def test_a_missing_address_names_setting_variable_and_option(
        self, run: Run, folder: Path, words: list[str]
    ) -> None:
        status, out, err = run(*words, *(["--object-id", OBJECT] if words[0] == "verify" else []))
        assert (status, out) == (2, "")
        assert "storage.url in conf/application.properties" in err
        assert "STORAGE_URL in the environment" in err
        assert "--storage.url=" in err

    def test_a_missing_portal_names_setting_variable_and_option(self, run: Run, folder: Path) -> None:
        status, _, err = run("manifest", "--manifest", OBJECT)
        assert status == 2
        for name in ("portal.url in conf/application.properties", "PORTAL_URL", "--portal.url="):
            assert name in err
