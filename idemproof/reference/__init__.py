"""The production implementation: engine, decorators, configuration, keys."""
