"""The real workflow engines read and write objects: Snakemake by its storage plugin, Nextflow by the module."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from score.auth.embedded import KeyFile
from score.testing.components import find
from score.testing.faults import Answer
from score.testing.pages import blocks_of
from score.testing.processes import clean_environment
from score.testing.secrecy import secret
from score.testing.secured import STUDY, secured_site
from score.testing.site import Registered, Site, md5_of

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = ROOT / "integrations" / "snakemake-storage-plugin-score"
MODULE = ROOT / "integrations" / "nextflow" / "score.nf"

Maker = Callable[[str, int], Path]
locally = pytest.mark.parametrize("site", ["local"], indirect=True)


def run(command: list[str], folder: Path, site: Site, more: Mapping[str, str], status: int = 0) -> str:
    """Run an engine; all that it said."""
    settings = {"storage.url": site.url, "storage.retryTimeout": "0.05", "storage.retryNumber": "3"}
    environment = {**clean_environment(folder / "home", settings), **more}
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    said = ended.stdout + ended.stderr
    assert ended.returncode == status, said
    assert "ignature=" not in said
    return said


@pytest.fixture
def published(site: Site, make_file: Maker) -> Registered:
    """A published file of two parts."""
    files = site.register([make_file("reads.txt", 6_000_000)])
    site.run("upload", "--manifest", files.manifest)
    site.publish(files)
    return files


@pytest.fixture
def result(site: Site, tmp_path: Path) -> Registered:
    """What the workflow is to make, registered and not yet there: workflows make the same of the same."""
    path = tmp_path / "expected" / "size.txt"
    path.parent.mkdir()
    path.write_text("6000000\n")
    return site.register([path])


@dataclass(frozen=True)
class Example:
    """What the examples of the pages need: published reads with their index, a result that is registered, and
    programs of the names that they call, which make it."""

    reads: Registered
    made: Registered
    programs: Path


@pytest.fixture
def example(site: Site, make_file: Maker, tmp_path: Path) -> Example:
    reads = site.register([make_file("sample.bam", 100_000), make_file("sample.bam.bai", 1000)])
    site.run("upload", "--manifest", reads.manifest)
    site.publish(reads)
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("bcftools", "call-variants"):
        script = '[ "$1" = mpileup ] && exit\nfor last; do :; done\necho called > "$last"\n'
        (programs / name).write_text(f"#!/bin/sh\n{script}")
        (programs / name).chmod(0o755)
    result = tmp_path / "made" / "sample.vcf.gz"
    result.parent.mkdir()
    result.write_text("called\n")
    return Example(reads, site.register([result]), programs)


def replaced(text: str, instead: Mapping[str, str]) -> str:
    """What a page prints, with this site's names."""
    for printed, ours in instead.items():
        assert printed in text
        text = text.replace(printed, ours)
    return text


OBJECT = "7a63b2e3-9a0d-5a1b-8a73-0a1d5f1f0001"
"""The object id in the pages."""
SNAKEFILE = """
storage score:
    provider="score"

rule all:
    input:
        storage.score("score://{result_study}/{result_analysis}/size.txt"),
        "by-name.txt",

rule count:
    input: storage.score("score://{object_id}/any-name.txt")
    output: storage.score("score://{result_study}/{result_analysis}/size.txt")
    shell: "wc -c < {{input}} | tr -d ' ' > {{output}}"

rule by_name:
    input: storage.score("score://{study}/{analysis}/reads.txt")
    output: "by-name.txt"
    shell: "md5sum < {{input}} > {{output}}"
"""


def snakefile(folder: Path, rules: str, url: str = "") -> None:
    """A workflow of these rules, whose storage is the plugin's, at ``url`` where that is given."""
    where = f',\n    url="{url}"' if url else ""
    (folder / "Snakefile").write_text(f'storage score:\n    provider="score"{where}\n\n{rules}')


def beside(folder: Path) -> str:
    """What Python finds beside Snakemake's own packages: SDK and plugin of this checkout, and of what the SDK needs
    that which Snakemake does not bring."""
    needed = folder.parent / f"{folder.name}-needed"
    needed.mkdir(exist_ok=True)
    link = needed / msgspec.__name__
    if not link.exists():
        link.symlink_to(Path(msgspec.__file__).parent)
    return os.pathsep.join(map(str, (ROOT / "src", PLUGIN / "src", needed)))


@locally
@pytest.mark.needs("snakemake")
class TestSnakemake:
    def engine(self, folder: Path, site: Site, *words: str, status: int = 0, **more: str) -> str:
        """Run Snakemake, with the plugin and the SDK of this checkout."""
        program = find("snakemake")
        assert program is not None
        path = beside(folder)
        command = [str(program), "--cores", "1", "--nocolor", *words]
        return run(command, folder, site, {"PYTHONPATH": path, **more}, status)

    def test_objects_are_inputs_and_outputs(
        self, site: Site, published: Registered, result: Registered, tmp_path: Path
    ) -> None:
        folder = tmp_path / "workflow"
        folder.mkdir()
        text = SNAKEFILE.format(
            object_id=published.id,
            study=published.study,
            analysis=published.analysis,
            result_study=result.study,
            result_analysis=result.analysis,
        )
        (folder / "Snakefile").write_text(text)
        self.engine(folder, site)
        assert (folder / "by-name.txt").read_text().split()[0] == md5_of(published.paths[0])
        assert site.has_object(result.id)
        assert not site.score.seen(path="^/listing")
        site.publish(result)

        site.score.forget()
        assert "Nothing to be done" in self.engine(folder, site)
        assert site.sent(result.id) == []

    def test_what_is_not_as_registered_fails_with_its_reason(
        self, site: Site, published: Registered, result: Registered, tmp_path: Path
    ) -> None:
        folder = tmp_path / "workflow"
        folder.mkdir()
        snakefile(
            folder,
            f'rule:\n    output: storage.score("score://{result.id}/size.txt")\n    shell: "echo 1 > {{output}}"\n',
        )
        said = self.engine(folder, site, status=1)
        assert "has 2 bytes, but 8 are registered" in said
        assert not site.has_object(result.id)

    def test_files_of_an_analysis_are_found_by_wildcards(
        self, site: Site, published: Registered, tmp_path: Path
    ) -> None:
        folder = tmp_path / "workflow"
        folder.mkdir()
        analysis = f"score://{published.study}/{published.analysis}"
        snakefile(
            folder,
            f'NAMES = glob_wildcards(storage.score("{analysis}/{{name}}.txt")).name\n'
            'rule all:\n    input: expand("{name}.md5", name=NAMES)\n\n'
            f'rule:\n    input: storage.score("{analysis}/{{name}}.txt")\n    output: "{{name}}.md5"\n'
            '    shell: "md5sum < {input} > {output}"\n',
        )
        self.engine(folder, site, "all")
        assert (folder / "reads.md5").read_text().split()[0] == md5_of(published.paths[0])

    def test_settings_of_the_plugin(self, site: Site, published: Registered, tmp_path: Path) -> None:
        folder = tmp_path / "workflow"
        folder.mkdir()
        snakefile(
            folder,
            f'rule:\n    input: storage.score("score://{published.id}")\n    output: "out"\n'
            '    shell: "cp {input} {output}"\n',
            url=site.url,
        )
        self.engine(folder, site, STORAGE_URL="http://127.0.0.1:9")
        assert md5_of(folder / "out") == md5_of(published.paths[0])

    def test_an_object_is_asked_for_by_its_id_alone_and_by_a_name(
        self, site: Site, published: Registered, tmp_path: Path
    ) -> None:
        snakefile(
            tmp_path,
            f'rule:\n    input: storage.score("score://{published.id}"), storage.score("score://{published.id}/a.txt")\n'
            '    output: "out"\n    shell: "cmp {input} && cp {input[0]} {output}"\n',
        )
        self.engine(tmp_path, site)
        assert md5_of(tmp_path / "out") == md5_of(published.paths[0])

    def test_an_output_may_be_younger_than_the_list_of_the_server(
        self, site: Site, result: Registered, tmp_path: Path
    ) -> None:
        """Only that list tells the age of what is not published, where the server is one of the reference; and waits
        are told of."""
        snakefile(
            tmp_path,
            f'rule:\n    output: storage.score("score://{result.id}")\n    shell: "echo 6000000 > {{output}}"\n',
        )
        site.score.inject(Answer.unavailable(), path="^/upload/")
        said = self.engine(tmp_path, site)
        assert "Once more in" in said
        assert site.has_object(result.id)
        site.score.inject(Answer(200, b"[]"), path="^/listing", times=None)
        site.score.inject(Answer(200, b"true"), method="GET", path=f"^/upload/{result.id}$", times=None)
        assert "Nothing to be done" in self.engine(tmp_path, site)
        assert site.score.seen(path="^/listing")

    @pytest.mark.parametrize("query", ["score://x", "score://../etc/passwd", "score://a/b/c/d", "s3://a/b/c"])
    def test_queries_that_are_none(self, site: Site, tmp_path: Path, query: str) -> None:
        snakefile(
            tmp_path,
            f'rule:\n    input: storage.score("{query}")\n    output: "out"\n    shell: "cp {{input}} {{output}}"\n',
        )
        assert query in self.engine(tmp_path, site, status=1)

    def test_the_example_of_the_page(self, site: Site, example: Example, tmp_path: Path) -> None:
        (text,) = [block.text for block in blocks_of(PLUGIN / "README.md") if block.kind == "python"]
        folder = tmp_path / "workflow"
        folder.mkdir()
        index = "9d0b6c1c-3a52-5f0e-8f4d-5b1f0a9d0002"
        instead = {OBJECT: example.reads.ids[0], index: example.reads.ids[1], "TEST-CA": example.made.study}
        instead["0ba2db28-1b6c-4a2c-a2db-281b6c8a2c16"] = example.made.analysis
        (folder / "Snakefile").write_text(replaced(text, instead), "utf-8")
        self.engine(folder, site, PATH=f"{example.programs}{os.pathsep}{os.environ['PATH']}")
        assert site.has_object(example.made.id)

    def test_the_suite_of_the_interface(self, site: Site, published: Registered, tmp_path: Path) -> None:
        """What the interface itself asks of every plugin that reads."""
        program = find("snakemake")
        assert program is not None
        (tmp_path / "suite.py").write_text(
            "from pathlib import Path\n"
            "from snakemake_interface_storage_plugins.tests import TestStorageBase\n"
            "from snakemake_storage_plugin_score import StorageProvider, StorageProviderSettings\n"
            "class Suite(TestStorageBase):\n"
            "    retrieve_only = True\n"
            "    def get_query(self, tmp_path): return 'score://OBJECT/reads.txt'\n"
            "    def get_query_not_existing(self, tmp_path): return 'score://00000000-0000-4000-8000-000000000000'\n"
            "    def get_storage_provider_cls(self): return StorageProvider\n"
            "    def get_storage_provider_settings(self): return StorageProviderSettings()\n"
            "for name in dir(Suite):\n"
            "    if name.startswith('test_'):\n"
            "        getattr(Suite(), name)(Path('for-' + name)); print(name)\n".replace("OBJECT", published.id)
        )
        path = beside(tmp_path)
        python = str(program.resolve().parent / "python")
        said = run([python, "suite.py"], tmp_path, site, {"PYTHONPATH": path})
        assert {"test_storage", "test_storage_not_existing", "test_query_validation"} <= set(said.split())


@pytest.mark.needs("snakemake")
@pytest.mark.parametrize("good", [True, False], ids=["with its scope", "without"])
def test_a_controlled_object_needs_a_token(tmp_path: Path, good: bool) -> None:
    """One that may download and nothing else is enough; it is given in the way of Snakemake."""
    with closing(KeyFile(tmp_path / "own" / "keys")) as keys, secured_site(tmp_path / "server", keys) as site:
        analysis, identity = site.register("reads.txt")
        site.publish(analysis, identity)
        token = site.make_key(f"PROGRAMDATA-{STUDY}.READ" if good else "PROGRAMDATA-OTHER.READ")
        folder = tmp_path / "workflow"
        folder.mkdir()
        snakefile(
            folder,
            f'rule:\n    input: storage.score("score://{identity}")\n    output: "out"\n'
            '    shell: "cp {input} {output}"\n',
            url=site.url,
        )
        program = find("snakemake")
        assert program is not None
        path = beside(tmp_path)
        environment = clean_environment(folder / "home") | {"PYTHONPATH": path}
        done = subprocess.run(
            [str(program), "--cores", "1", "--nocolor"],
            cwd=folder,
            env=environment | {"SNAKEMAKE_STORAGE_SCORE_TOKEN": token},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        said = done.stdout + done.stderr
        assert token not in said
        assert (done.returncode == 0) == good, said
        assert good or "scope" in said
        assert (folder / "out").is_file() == good


@locally
@pytest.mark.needs("nextflow")
class TestNextflow:
    def engine(self, folder: Path, site: Site, workflow: str, status: int = 0) -> str:
        """Run Nextflow on a workflow that may include the module, with the client of this checkout."""
        program = find("nextflow")
        assert program is not None
        folder.mkdir(exist_ok=True)
        (folder / "score.nf").write_text(MODULE.read_text("utf-8"), "utf-8")
        (folder / "main.nf").write_text(workflow, "utf-8")
        scripts = str(Path(sys.executable).parent)
        more = {"NXF_HOME": str(folder / "nextflow"), "NXF_OFFLINE": "true", "NXF_ANSI_LOG": "false"}
        more["PATH"] = f"{scripts}{os.pathsep}{os.environ['PATH']}"
        return run([str(program), "run", "main.nf", "-resume"], folder, site, more, status)

    def test_objects_go_through_a_workflow(
        self, site: Site, published: Registered, result: Registered, tmp_path: Path
    ) -> None:
        workflow = f"""
            include {{ SCORE_DOWNLOAD; SCORE_UPLOAD }} from './score'
            process COUNT {{
                input: tuple val(meta), path(file)
                output: tuple val(meta), path('size.txt')
                script: "wc -c < ${{file}} | tr -d ' ' > size.txt"
            }}
            workflow {{
                SCORE_DOWNLOAD(Channel.of([[id: 'a'], '{published.id}']))
                COUNT(SCORE_DOWNLOAD.out.files)
                SCORE_UPLOAD(COUNT.out.map {{ meta, file -> [meta, '{result.id}', file, ''] }})
                SCORE_UPLOAD.out.objects.view()
            }}
        """
        said = self.engine(tmp_path / "workflow", site, workflow)
        assert result.id in said
        site.publish(result)

    def test_names_of_files_may_hold_what_a_shell_takes_for_its_own(
        self, site: Site, make_file: Maker, tmp_path: Path
    ) -> None:
        files = site.register([make_file("the reads' (1) & more.txt", 1000)])
        workflow = f"""
            include {{ SCORE_UPLOAD }} from './score'
            workflow {{
                SCORE_UPLOAD(Channel.of([[id: 'a'], '{files.id}', file("{files.paths[0]}", glob: false), '']))
            }}
        """
        self.engine(tmp_path / "workflow", site, workflow)
        site.publish(files)

    def test_the_example_of_the_page(
        self, site: Site, example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        workflow, config = [block.text for block in blocks_of(MODULE.parent / "README.md") if block.kind == "groovy"]
        folder = tmp_path / "workflow"
        home = folder / "home"
        home.mkdir(parents=True)
        (home / ".score-token").write_text(secret("4c1de1f8-0d7f-4b64-a9f0-0c2b7fa0e6a1"), "utf-8")
        (home / ".score-token").chmod(0o600)
        places = {"https://score.example.org": site.url, "https://song.example.org": site.registry_url}
        config = replaced(config, {**places, "${System.getenv('HOME')}": str(home)})
        (folder / "nextflow.config").write_text(config, "utf-8")
        monkeypatch.setenv("PATH", f"{example.programs}{os.pathsep}{os.environ['PATH']}")
        ids = {OBJECT: example.reads.ids[0], "9d0b6c1c-3a52-5f0e-8f4d-5b1f0a9d0002": example.made.id}
        self.engine(folder, site, replaced(workflow, ids))
        assert site.has_object(example.made.id)

    def test_a_task_that_is_tried_again_goes_on(
        self, site: Site, make_file: Maker, result: Registered, tmp_path: Path
    ) -> None:
        """The store is away in the middle: the second task, in a folder of its own, sends what the first did not."""
        files = site.register([make_file("reads.txt", 11_000_000)])
        site.store.inject(Answer.unavailable(), method="PUT", path=site.path_of(files.id), part=3, times=3)
        workflow = f"""
            include {{ SCORE_UPLOAD }} from './score'
            workflow {{
                SCORE_UPLOAD(Channel.of([[id: 'a'], '{files.id}', file('{files.paths[0]}'), '']))
            }}
        """
        self.engine(tmp_path / "workflow", site, workflow)
        assert sorted(call.part or 0 for call in site.sent(files.id)) == [1, 2, 3, 3, 3, 3]
        site.publish(files)
