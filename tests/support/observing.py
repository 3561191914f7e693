"""An observer of calls and of their requests."""

from idemproof import Kind, Occurrence, StoreRequest


class Requests:
    """An observer that also takes requests."""

    def __init__(self) -> None:
        self.seen: list[StoreRequest] = []
        self.kinds: list[Kind] = []
        self.functions: set[str | None] = set()

    def __call__(self, occurrence: Occurrence) -> None:
        self.kinds.append(occurrence.kind)
        self.functions.add(occurrence.function)

    def on_request(self, request: StoreRequest) -> None:
        self.seen.append(request)
