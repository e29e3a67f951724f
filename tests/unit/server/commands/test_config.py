"""``score-server config``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from score.server.settings import FIELDS

from .conftest import Place


def test_config_tells_values_and_origins_but_no_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "application.properties").write_text(
        "s3.endpoint=http://x:9000\ns3.accessKey=AKIAHUNTER\ns3.secretKey=hunter2\nupload.partsize=6000000\n"
        "bucket.name.object=o\nbucket.name.state=s\nmetadata.url=http://song\ns3.nonsense=1\n"
        "server.trustedProxies=10.0.0.0/8, 192.0.2.1\nserver.ssl.trust-store-password=hunter2\n"
    )
    monkeypatch.setenv("UPLOAD_PARTSIZE", "7000000")
    place = Place(tmp_path, ["--upload.retry.limit=2"], capsys)
    status, out = place.run("config")
    assert status == 0
    lines = {line.split("=")[0]: line for line in out.splitlines() if "=" in line}
    assert lines.keys() >= FIELDS.keys()
    assert lines["upload.partsize"].split() == ["upload.partsize=7000000", "#", "environment", "UPLOAD_PARTSIZE"]
    assert lines["s3.endpoint"].endswith("# application.properties:1")
    assert lines["upload.retry.limit"].endswith("# option --upload.retry.limit")
    assert lines["server.port"].endswith("# default")
    assert "s3.secretKey=******" in lines["s3.secretKey"]
    assert "server.trustedProxies=10.0.0.0/8,192.0.2.1/32" in lines["server.trustedProxies"]
    status, as_json = place.run("config", "--json")
    assert status == 0
    document = json.loads(as_json)
    assert {one["name"] for one in document["settings"]} == FIELDS.keys()
    for text in (out, as_json):
        assert "hunter" not in text.lower()
        assert "s3.nonsense" in text
