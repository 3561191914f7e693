"""The portable test vectors: ``python -m vectors`` writes them."""
