"""The demo: payment webhooks, several processes, one of them killed."""
