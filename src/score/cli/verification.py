"""``verify``."""

from __future__ import annotations

from pathlib import Path

import click

from score.cli import options


@click.command()
@click.option(
    "--output-dir", required=True, type=options.Place(path_type=Path), metavar="DIR", help="Where they are."
)
@options.selection
@options.layout
@options.index
@click.option("--repair", is_flag=True, help="Fetch what is damaged or missing, and nothing else.")
@options.shard
@options.verify_connection
@options.limits
@options.told
@click.pass_context
def verify(
    ctx: click.Context,
    output_dir: Path,
    manifest: str | None,
    object_ids: tuple[str, ...],
    more_ids: tuple[str, ...],
    analysis_id: str | None,
    study_id: str | None,
    output_layout: str,
    index: bool,
    repair: bool,
    shard: tuple[int, int] | None,
    verify_connection: bool,
) -> int:
    """Compare downloaded files with the registry and the store: sizes, MD5s of whole files and of parts."""
    options.require_one_selection(manifest, object_ids, more_ids, analysis_id, study_id)

    from score.cli import inputs
    from score.cli.progress import total
    from score.cli.session import session
    from score.client.layout import Layout
    from score.client.verification import verify

    with session(ctx) as run:
        found = inputs.objects(run, manifest, [*object_ids, *more_ids], analysis_id, study_id, shard)
        mine = inputs.shard_objects(found, shard)
        run.client.connect(verify=verify_connection and repair)
        complete = analysis_id is not None or not index
        run.screen.expect(len(mine) if complete else None, total(size for _, size in mine) if complete else None)
        outcomes = verify(
            run.client,
            (object_id for object_id, _ in mine),
            output_dir,
            layout=Layout(output_layout.lower()),
            index=index,
            repair=repair,
            skip=inputs.left_to_others(found, mine),
        )
        return run.end(run.follow(outcomes))
