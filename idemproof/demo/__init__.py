"""The demonstration: payment webhooks, several processes, one killed."""
