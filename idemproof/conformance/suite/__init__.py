"""The conformance suite for persistence layers: its input, its runner and its reports."""
