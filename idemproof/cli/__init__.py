"""The commands of ``idemproof``."""
