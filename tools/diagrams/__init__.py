"""Pictures of the states and of each flow: ``python -m diagrams`` draws them."""
