"""Layers in other languages: a command that is asked by lines of JSON on stdin, and answers on stdout."""
