"""The ``Idempotency-Key`` of HTTP requests: a core without a framework, and middlewares around it."""
