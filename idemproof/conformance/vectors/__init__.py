"""The portable test vectors: ``python -m idemproof.conformance.vectors`` writes them."""
