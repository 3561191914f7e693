"""Writes the vectors, or tells which are stale."""

from .generate import main

if __name__ == "__main__":
    raise SystemExit(main())
