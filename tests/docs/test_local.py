"""The page of the local store: from nothing to a verified upload, and the move to a bucket, as it stands there."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

from score.testing.pages import follow
from score.testing.processes import clean_environment
from score.testing.site import Server

if TYPE_CHECKING:
    from score.testing.minio import Minio

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "stores" / "local.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return [part.partition("\n```")[0] for part in PAGE.split(f"\n```{language}\n")[1:]]


@pytest.mark.needs("minio", "aws")
def test_the_page_leads_to_a_verified_upload_and_to_a_bucket(minio: Minio, tmp_path: Path) -> None:
    start, health, upload, move, again, verify = blocks("sh")
    (properties,) = blocks("properties")
    assert start == "score-server --local.directory=score-data"
    assert again == f"{start} --server.port=8088"
    (tmp_path / "reads").mkdir()
    (tmp_path / "reads" / "a.bam").write_bytes(Random(1).randbytes(7_000_000))
    (tmp_path / "reads" / "b.vcf").write_bytes(Random(2).randbytes(100))
    on_disk, on_bucket = Server(tmp_path, {"upload.partsize": "5242880"}), Server(tmp_path / "new", {})
    instead = {
        "http://localhost:8087": on_disk.url,
        "http://localhost:8088": on_disk.url,
        "http://localhost:9000": minio.endpoint,
        "abc12345": minio.secret_key,
        "abc123": minio.access_key,
        "s3://objects": "s3://objects-moved",
        "s3://state": "s3://state-moved",
        "object=objects": "object=objects-moved",
        "state=state": "state=state-moved",
    }

    def here(text: str) -> str:
        for printed, ours in instead.items():
            text = text.replace(printed, ours)
        return text

    def run(*commands: str, folder: Path = tmp_path) -> str:
        return follow(here("\n".join(commands)), folder, clean_environment(tmp_path, {}))

    try:
        on_disk.start()
        said = run(health, upload, "echo $ANALYSIS")
        assert said.startswith('{"status":"UP"')
        assert "equal, byte for byte" in said
        analysis = said.split()[-1]
        on_disk.stop()
        assert run(verify).endswith("2 as uploaded, 0 damaged or lost, 0 unknown.\n")
        run(move)
        (tmp_path / "new" / "conf").mkdir()
        (tmp_path / "new" / "conf" / "application.properties").write_text(here(properties), "utf-8")
        on_disk.start()
        on_bucket.start()
        assert run(verify, folder=tmp_path / "new").endswith("2 as uploaded, 0 damaged or lost, 0 unknown.\n")
        run(
            f"export STORAGE_URL={on_bucket.url} METADATA_URL={on_disk.url}",
            f"score-client download --study-id DEMO-CA --analysis-id {analysis} --output-dir third",
            "diff -r reads third",
            f"curl -fsS {on_bucket.url}/download/ping | xargs curl -fsS > /dev/null",
        )
    finally:
        on_disk.stop()
        on_bucket.stop()
