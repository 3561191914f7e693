"""A second model of the protocol, in TLA+, and its check by TLC."""
