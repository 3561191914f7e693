"""The commands of the ``idemproof`` command line."""
