"""What callers ask for: the parameters of a GET, or the document of a POST, checked. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import NamedTuple

from score.broker.htsget.refusals import InvalidInput, InvalidRange, UnsupportedFormat
from score.genomics.formats import Format

LARGEST_NUMBER = (1 << 32) - 1
UNPLACED = "*"
"""The reference of reads without a place."""
FIELDS = ("QNAME", "FLAG", "RNAME", "POS", "MAPQ", "CIGAR", "RNEXT", "PNEXT", "TLEN", "SEQ", "QUAL")
_BOTH = ("format", "class", "fields", "tags", "notags")
IN_QUERY = ("format", "class", "referenceName", "start", "end", "fields", "tags", "notags")
IN_DOCUMENT = (*_BOTH, "regions")
_REGION = ("referenceName", "start", "end")


class Datatype(StrEnum):
    """The two kinds of data, each with calls of its own."""

    READS = "reads"
    VARIANTS = "variants"

    @property
    def formats(self) -> tuple[Format, ...]:
        """The formats of its files."""
        return (Format.BAM, Format.CRAM) if self is Datatype.READS else (Format.VCF, Format.BCF)


class Region(NamedTuple):
    """A range of a reference, from 0, its end excluded; ``end`` is None for that of the reference."""

    reference: str
    start: int = 0
    end: int | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """``format``: None for that of the file. ``regions``: None for the whole file. Fields and tags were checked, and
    do not count any more: all are given."""

    format: Format | None = None
    header_only: bool = False
    regions: tuple[Region, ...] | None = None


def read_parameters(datatype: Datatype, given: Iterable[tuple[str, str]]) -> Query:
    """The query of a GET. Raises InvalidInput, InvalidRange, UnsupportedFormat."""
    parameters: dict[str, str] = {}
    for name, text in given:
        if name in parameters:
            raise InvalidInput(f"The parameter {name} is given more than once.")
        parameters[name] = text
    _check_names(parameters, IN_QUERY, "parameter")
    format = _format(datatype, parameters.get("format"))
    if _is_header(parameters.get("class"), [name for name in parameters if name not in ("format", "class")]):
        return Query(format, header_only=True)
    _check_filters({name: parameters[name].split(",") for name in ("fields", "tags", "notags") if name in parameters})
    bounds: dict[str, int] = {
        name: _digits(name, parameters[name]) for name in ("start", "end") if name in parameters
    }
    if "referenceName" not in parameters:
        if bounds:
            raise InvalidInput(f"{' and '.join(bounds)} without referenceName: of which reference?")
        return Query(format)
    region = _region(parameters["referenceName"], bounds)
    if region.end is not None and region.start > region.end:
        raise InvalidRange(f"start {region.start} is greater than end {region.end}.")
    return Query(format, regions=(region,))


def read_document(datatype: Datatype, body: bytes) -> Query:
    """The query of a POST; an empty body asks for everything. Raises as :func:`read_parameters`."""
    try:
        document = json.loads(body, object_pairs_hook=_once) if body.strip() else {}
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"The body of the request is no JSON that could be read: {str(error)[:100]}.") from None
    if not isinstance(document, dict):
        raise InvalidInput("The body of the request is no JSON object.")
    _check_names(document, IN_DOCUMENT, "key")
    format = _format(datatype, _text(document, "format"))
    if _is_header(_text(document, "class"), [name for name in document if name not in ("format", "class")]):
        return Query(format, header_only=True)
    _check_filters({name: _words(name, document[name]) for name in ("fields", "tags", "notags") if name in document})
    if "regions" not in document:
        return Query(format)
    listed = document["regions"]
    if not isinstance(listed, list) or not listed:
        raise InvalidInput("regions is no list with at least one region.")
    return Query(format, regions=tuple(_listed_region(number, one) for number, one in enumerate(listed, 1)))


def _listed_region(number: int, document: object) -> Region:
    where = f"Region {number}"
    if not isinstance(document, dict):
        raise InvalidInput(f"{where} is no JSON object.")
    _check_names(document, _REGION, "key")
    name = document.get("referenceName")
    if not isinstance(name, str):
        raise InvalidInput(f"{where} has no referenceName.")
    for bound in _REGION[1:]:
        value = document.get(bound, 0)
        if type(value) is not int or not 0 <= value <= LARGEST_NUMBER:
            raise InvalidInput(f"{where}: {bound} is no whole number from 0 to {LARGEST_NUMBER}.")
    region = _region(name, {bound: document[bound] for bound in _REGION[1:] if bound in document})
    if region.end is not None and region.start >= region.end:
        raise InvalidRange(f"{where}: start {region.start} is not less than end {region.end}.")
    return region


def _region(name: str, bounds: Mapping[str, int]) -> Region:
    if not name:
        raise InvalidInput("referenceName is empty.")
    if name == UNPLACED and bounds:
        raise InvalidInput(f"{' and '.join(bounds)} with referenceName *: reads without a place have no range.")
    return Region(name, bounds.get("start", 0), bounds.get("end"))


def _check_names(given: Iterable[str], known: tuple[str, ...], what: str) -> None:
    """A name that is not known is refused: a misspelled region must not turn into the whole file."""
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, 1)
            meant = f" Is {near[0]} meant?" if near else f" There are {', '.join(known)}."
            raise InvalidInput(f"The {what} {name[:60]!r} is not known here.{meant}")


def _format(datatype: Datatype, text: str | None) -> Format | None:
    if text is None:
        return None
    for format in datatype.formats:
        if text.upper() == format:
            return format
    known = " and ".join(datatype.formats)
    raise UnsupportedFormat(f"The format {text[:20]!r} is not to be had; of {datatype} there are {known}.")


def _is_header(text: str | None, others: list[str]) -> bool:
    if text is None:
        return False
    if text != "header":
        raise InvalidInput(f"class is {text[:20]!r}; it can be header, or be left out.")
    if others:
        raise InvalidInput(f"{', '.join(others)} cannot be given with class=header.")
    return True


def _check_filters(lists: Mapping[str, list[str]]) -> None:
    for field in lists.get("fields", ()):
        if field not in FIELDS:
            raise InvalidInput(f"The field {field[:20]!r} is not known; there are {', '.join(FIELDS)}.")
    if both := sorted(set(lists.get("tags", ())) & set(lists.get("notags", ())) - {""}):
        raise InvalidInput(f"{', '.join(tag[:20] for tag in both)} cannot be both in tags and in notags.")


def _digits(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= LARGEST_NUMBER):
        raise InvalidInput(f"{name} is {text[:20]!r}, and no whole number from 0 to {LARGEST_NUMBER}.")
    return int(text)


def _text(document: Mapping[str, object], name: str) -> str | None:
    value = document.get(name)
    if name in document and not isinstance(value, str):
        raise InvalidInput(f"{name} is no text.")
    return value if isinstance(value, str) else None


def _words(name: str, value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise InvalidInput(f"{name} is no list of texts.")
    return value


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) < len(pairs):
        raise ValueError("a key stands there twice")
    return document
