"""The diagrams of the states and of each flow: ``python tools/regenerate.py diagrams`` draws them."""
