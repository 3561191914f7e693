"""A sequence of claims, completions and deletions, with the layer's acknowledgements."""

from collections.abc import Iterator, Sequence

from ...spec.record import Record
from ..suite.subjects import Subject
from .messages import Acknowledged
from .stress import result_of

_THIRD = 3


def written(claims: Sequence[Record], subject: Subject) -> Iterator[Acknowledged]:
    """Put claims, complete a third of them, delete another third, and yield each acknowledgement."""
    for number, claim in enumerate(claims):
        key = claim.idempotency_key
        subject.put(claim)
        yield Acknowledged(key, claim)
        if number % _THIRD == 1:
            subject.update(result_of(claim))
            yield Acknowledged(key, result_of(claim))
        elif number % _THIRD:
            subject.delete(claim)
            yield Acknowledged(key, None)


def kept(found: Record | None, wanted: Record | None, *, swaps: bool) -> bool:
    """Return whether the found record is the acknowledged one, in the fields that the layer keeps."""
    if found is None or wanted is None:
        return found is wanted
    fields = range(len(found)) if swaps else (1, 2, 4)
    return all((found[field] or None) == (wanted[field] or None) for field in fields)
