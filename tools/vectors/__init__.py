"""The portable test vectors: ``python tools/regenerate.py vectors`` writes them."""
