"""Pictures of the states and of each flow: ``python -m idemproof.conformance.pictures`` draws them."""
