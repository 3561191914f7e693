"""Proves the invariants of the specification, by executing its shipped code on symbolic values.

It needs ``z3-solver``, the extra ``proof``.
"""
