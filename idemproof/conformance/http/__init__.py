"""The judge of HTTP services: sends requests to a running service, and reports which clauses it breaks."""
