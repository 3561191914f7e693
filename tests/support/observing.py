"""An observer of calls and of their requests."""

from idemproof import Kind, Occurrence, StoreRequest


class Requests:
    """An observer that also takes requests."""

    def __init__(self) -> None:
        self.seen: list[StoreRequest] = []
        self.kinds: list[Kind] = []

    def __call__(self, occurrence: Occurrence) -> None:
        self.kinds.append(occurrence.kind)

    def on_request(self, request: StoreRequest) -> None:
        self.seen.append(request)
