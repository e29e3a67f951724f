"""The images, each step of them done in a Debian of its own: they run read-only, as users without a name, and take
what was written for the images of Overture Score."""

from __future__ import annotations

import hashlib
import os
import random
import re
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml

from score.storage.s3.settings import S3Settings
from score.testing.components import find
from score.testing.dockerfile import Image, build
from score.testing.minio import Minio, running_minio
from score.testing.pages import blocks_of
from score.testing.processes import Program, clean_environment, free_port
from score.testing.s3_contract import boto
from score.testing.song import FakeSong

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
STRANGER = "4711:4711"

pytestmark = pytest.mark.needs("debootstrap")

REFERENCE = {
    "SPRING_PROFILES_ACTIVE": "amazon,collaboratory,prod",
    "OBJECT_SENTINEL": "heliograph",
    "BUCKET_NAME_OBJECT": "score.data",
    "BUCKET_NAME_STATE": "score.data",
    "COLLABORATORY_DATA_DIRECTORY": "data",
    "S3_SIGV4ENABLED": "true",
    "SERVER_SSL_ENABLED": "false",
    "UPLOAD_PARTSIZE": "1073741824",
    "UPLOAD_CONNECTION_TIMEOUT": "1200000",
    "LOGGING_LEVEL_BIO_OVERTURE_SCORE_SERVER": "DEBUG",
    "LOGGING_LEVEL_ORG_APACHE_HTTP_WIRE": "DEBUG",
    "ENDPOINTS_DUMP_ENABLED": "false",
    "ENDPOINTS_INFO_ENABLED": "true",
    "JAVA_TOOL_OPTIONS": "-agentlib:jdwp=transport=dt_socket,address=*:5006,server=y,suspend=n",
}
"""The variables of a compose file for the image of Overture Score, without addresses and keys."""

IMAGES = (
    "ghcr.io/overture-stack/score-server:latest",
    '"overture/score-server:5.8.1"  # pinned',
    "ghcr.io/overture-stack/score-server",
    f"ghcr.io/overture-stack/score-server@sha256:{'0' * 64}",
)
"""Ways in which compose files name the image."""

Start = Callable[..., tuple[Program, str]]


@pytest.fixture(scope="module")
def debian() -> Iterator[Path]:
    """A minimal system. It is outside pytest's folders, which are kept for days."""
    with tempfile.TemporaryDirectory(prefix="score-image-") as folder:
        base = Path(folder) / "debian"
        command = [str(find("debootstrap")), "--variant=minbase", "trixie", str(base)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (base / "etc/dpkg/dpkg.cfg.d/image").write_text("force-unsafe-io\n")  # as the images of Debian have it
        yield base


@pytest.fixture(scope="module")
def image(debian: Path) -> Callable[[str], Image]:
    """Builds a target."""
    arguments = {"VERSION": "1.2.3", "COMMIT": "0123456789ab"}
    return lambda target: build(DOCKERFILE, ROOT, debian, debian.parent, target, arguments)


@pytest.fixture(scope="module")
def server(image: Callable[[str], Image]) -> Image:
    return image("server")


@pytest.fixture(scope="module")
def client(image: Callable[[str], Image]) -> Image:
    return image("client")


@pytest.fixture
def start(server: Image, tmp_path: Path) -> Iterator[Start]:
    """Starts the server's image on a free port, waits until it is ready, and gives its process and its address."""
    programs = []

    def run(*command: str, environment: Mapping[str, str]) -> tuple[Program, str]:
        port = free_port()
        words = [word.replace("PORT", str(port)) for word in command]
        line, variables = server.start(*words, environment=environment)
        if not command:
            variables["SERVER_PORT"] = str(port)
        program = Program(line, tmp_path / "server", variables)
        programs.append(program)
        program.wait_until(lambda: "URL:" in program.stdout)
        return program, f"http://127.0.0.1:{port}"

    yield run
    for program in programs:
        program.kill()


@pytest.fixture(scope="module")
def store() -> Iterator[Minio]:
    with running_minio() as minio:
        client = boto(S3Settings(minio.endpoint, minio.access_key, minio.secret_key))
        client.create_bucket(Bucket="score.data")
        client.put_object(Bucket="score.data", Key="data/heliograph", Body=b"here")
        yield minio


def reference(store: Minio, song: FakeSong) -> dict[str, str]:
    return {
        **REFERENCE,
        "METADATA_URL": song.url,
        "S3_ENDPOINT": store.endpoint,
        "S3_ACCESSKEY": store.access_key,
        "S3_SECRETKEY": store.secret_key,
    }


def run(image: Image, *command: str, **options: object) -> subprocess.CompletedProcess[str]:
    line, environment = image.start(*command, **options)  # type: ignore[arg-type]
    return subprocess.run(line, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.needs("hadolint")
def test_the_dockerfile_is_clean() -> None:
    done = subprocess.run([str(find("hadolint")), DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_version_and_the_commit_are_known(server: Image, client: Image) -> None:
    assert run(server, "--version").stdout == "score-server 1.2.3 (commit 0123456789ab)\n"
    assert "1.2.3" in run(client, "score-client", "version").stdout


def test_the_image_holds_no_tools_to_build_with(server: Image) -> None:
    """Nor tests, nor the sources as they lie in the checkout."""
    for name in ("pip", "gcc", "git"):
        assert run(server, "sh", "-c", f"command -v {name}").returncode, name
    assert run(server, "sh", "-c", "ls /build /wheels /opt/build").returncode


def read_by_docker(folder: Path) -> dict[str, Any]:
    """The services of a compose file there, as Docker reads them."""
    command = [str(find("compose-spec")), "docker-compose.yml"]
    environment = clean_environment(folder)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    assert isinstance(services, dict)
    return services


@pytest.mark.needs("minio", "compose-spec")
def test_a_compose_file_for_overture_score(start: Start, store: Minio, server: Image, tmp_path: Path) -> None:
    """Only the name of the image changes, by the command of the page; the other services stay as they were.

    What Docker would start is started, with the variables that Docker reads, and the keys, which nobody shows.
    """
    with FakeSong() as song:
        given = reference(store, song)
        keys = {name: given.pop(name) for name in ("S3_ACCESSKEY", "S3_SECRETKEY")}
        scores = {
            f"score{number}": {"image": f"IMAGE{number}", "ports": [f"808{number}:8087"], "environment": given}
            for number in range(len(IMAGES))
        }
        song_server = {"image": "ghcr.io/overture-stack/song-server:latest", "depends_on": ["score0"]}
        text = yaml.safe_dump({"services": {**scores, "song": song_server}})
        for number, name in enumerate(IMAGES):
            text = text.replace(f"IMAGE{number}", name)
        (tmp_path / "docker-compose.yml").write_text(text)
        before = read_by_docker(tmp_path)
        (block,) = [one for one in blocks_of(ROOT / "docs" / "deployment.md") if "docker-compose.yml" in one.text]
        change, up = block.text.strip().splitlines()
        assert up == "docker compose up --detach"
        subprocess.run(["sh", "-c", change], cwd=tmp_path, check=True)
        after = read_by_docker(tmp_path)
        assert after == {**before, **{name: {**before[name], "image": "score-server"} for name in scores}}
        variables = {**after["score0"]["environment"], **keys}
        program, url = start(environment=variables)
        assert "JAVA_TOOL_OPTIONS is ignored" in program.stderr
        assert "is no setting" not in program.stderr
        at = {**variables, "SERVER_PORT": url.rpartition(":")[2]}
        line, environment = server.execute("score-server", "check", environment=at)
        subprocess.run(line, env=environment, check=True, capture_output=True)
        sentinel = urllib3.request("GET", f"{url}/download/ping").data.decode()
        assert urllib3.request("GET", sentinel).status == 200
        assert program.terminate() == 0


@pytest.mark.needs("minio")
def test_a_command_line_of_java(start: Start, store: Minio) -> None:
    with FakeSong() as song:
        command = "java -Xmx2g -Dlog.path=/score-server/logs -Dserver.port=1 -jar /score-server.jar"
        config = "--spring.config.location=classpath:/application.yml,classpath:/bootstrap.properties"
        program, url = start(*command.split(), config, "--server.port=PORT", environment=reference(store, song))
        assert "-Xmx2g is ignored" in program.stderr
        assert urllib3.request("GET", f"{url}/live").status == 200


@pytest.mark.needs("minio")
def test_the_health_check(start: Start, store: Minio, server: Image) -> None:
    """Healthy while the server is ready; not without it."""
    with FakeSong() as song:
        variables = reference(store, song)
        program, url = start(environment=variables)
        at = {**variables, "SERVER_PORT": url.rpartition(":")[2]}
        line, environment = server.execute(*server.health, environment=at)
        done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "UP\n"), done.stderr
        assert program.terminate() == 0
        done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "No server answers at 127.0.0.1" in done.stdout


def test_without_any_setting_it_says_what_is_missing(server: Image) -> None:
    """It listens on all addresses, and without authorization nobody wants that."""
    done = run(server)
    assert done.returncode == 1
    assert "start with --insecure if that is what you want" in done.stderr


def test_commands_of_the_server_and_other_programs(server: Image) -> None:
    assert run(server, "--help").stdout.startswith("Usage: score-server")
    assert "server.port" in run(server, "config", "--insecure").stdout
    assert run(server, "id", "-u").stdout == "9999\n"


@pytest.mark.needs("minio")
def test_the_client_as_any_user(client: Image, start: Start, store: Minio, tmp_path: Path) -> None:
    """It sends and fetches files of a folder of the machine, as a user that the image does not know."""
    with FakeSong() as song:
        _, url = start(environment=reference(store, song))
        shared = tmp_path / "data"
        shared.mkdir()
        (shared / "reads.bam").write_bytes(bytes(range(256)) * 1000)
        shared.chmod(0o777)
        data = (shared / "reads.bam").read_bytes()
        md5 = hashlib.md5(data).hexdigest()
        file = song.register("reads.bam", analysis="analysis", size=len(data), md5=md5)
        song.set_state("analysis", "UNPUBLISHED")
        variables = {"STORAGE_URL": url, "METADATA_URL": song.url}
        options = {"environment": variables, "user": STRANGER, "volumes": [f"{shared}:/data"]}
        sent = ("upload", "--file", "/data/reads.bam", "--object-id", file.object_id)
        done = run(client, "bin/score-client", *sent, **options)
        assert done.returncode == 0, done.stderr
        song.set_state("analysis", "PUBLISHED")
        fetched = ("download", "--object-id", file.object_id, "--output-dir", "/data/again")
        done = run(client, "score-client", *fetched, **options)
        assert done.returncode == 0, done.stderr
        (again,) = (shared / "again").iterdir()
        assert again.read_bytes() == data


@pytest.mark.needs("minio", "fuse")
def test_the_client_mounts_as_its_user(client: Image, start: Start, store: Minio, tmp_path: Path) -> None:
    """Which has no rights but those of fusermount3, on a device that is everybody's, as an engine gives it."""
    data = random.Random(1).randbytes(3_000_000)
    with FakeSong() as song:
        _, url = start(environment=reference(store, song))
        file = song.register("reads.bam", analysis="mounted", size=len(data), md5=hashlib.md5(data).hexdigest())
        (tmp_path / "reads.bam").write_bytes(data)
        variables = {"STORAGE_URL": url, "METADATA_URL": song.url}
        sent = ("score-client", "upload", "--file", "/data/reads.bam", "--object-id", file.object_id)
        song.set_state("mounted", "UNPUBLISHED")
        done = run(client, *sent, environment=variables, user="0:0", volumes=[f"{tmp_path}:/data"])
        assert done.returncode == 0, done.stderr
        song.set_state("mounted", "PUBLISHED")
        device = tmp_path / "fuse"
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(10, 229))
        device.chmod(0o666)
        script = (
            "mkdir /tmp/point; score-client mount --mount-point /tmp/point 2>/tmp/said & "
            "until grep -q 'Mounted on' /tmp/said; do kill -0 $! || { cat /tmp/said >&2; exit 1; }; done; "
            "cat /tmp/point/mounted/reads.bam | md5sum; kill $!; wait $!"
        )
        options = {"environment": variables, "volumes": [f"{device}:/dev/fuse"]}
        done = run(client, "sh", "-c", script, **options)
        assert done.stdout.split()[:1] == [hashlib.md5(data).hexdigest()], done.stderr


def test_the_client_can_slice_and_mount(client: Image) -> None:
    """Their packages are there, and the library of FUSE that one of them looks for."""
    done = run(client, "/opt/score/bin/python", "-c", "import fsspec, mfusepy, pysam; print(pysam.__version__)")
    assert re.match(r"\d", done.stdout), done.stderr


def test_the_commands_for_one_machine(debian: Path, tmp_path: Path) -> None:
    """Those of the page, in a Debian with systemd: the unit is installed, and the server reads its folder.

    The last one, which starts it, needs a systemd that runs; what it would start is run without it.
    """
    (block,) = [one for one in blocks_of(ROOT / "docs" / "deployment.md") if one.section == "One machine, systemd"]
    *lines, start = block.text.strip().splitlines()
    assert start == "systemctl start score"
    commands = " && ".join(lines)
    (tmp_path / "Dockerfile").write_text(
        "FROM debian AS machine\n"
        "RUN apt-get update && apt-get install -y --no-install-recommends python3-venv systemd\n"
        "WORKDIR /sources\n"
        "COPY pyproject.toml README.md LICENSE ./\n"
        "COPY requirements/server.txt requirements/\n"
        "COPY tools/build_hook.py tools/\n"
        "COPY deploy deploy\n"
        "COPY src src\n"
        f"RUN cp deploy/env.score.example .env.score && {commands}\n"
    )
    context = tmp_path / "sources"
    context.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "requirements", "tools", "deploy", "src"):
        (context / name).symlink_to(ROOT / name)
    (context / ".dockerignore").write_text("*\n!**\n")
    machine = build(tmp_path / "Dockerfile", context, debian, debian.parent, "machine", {})
    enabled = machine.root / "etc/systemd/system/multi-user.target.wants/score.service"
    unit = (machine.root / "etc/systemd/system/score.service").read_text()
    assert enabled.is_symlink()
    program, folder = (re.findall(rf"(?m)^{name}=(.*)", unit)[0] for name in ("ExecStart", "WorkingDirectory"))
    read = run(
        machine,
        "setpriv",
        "--reuid=score",
        "--regid=score",
        "--init-groups",
        "sh",
        "-c",
        f"cd {folder} && {program} config",
    )
    assert "http://minio:9000" in read.stdout, read.stderr
    assert ".env.score" in read.stdout
    others = run(machine, "setpriv", "--reuid=4711", "--regid=4711", "--clear-groups", "cat", f"{folder}/.env.score")
    assert others.returncode
