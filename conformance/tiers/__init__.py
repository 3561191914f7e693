"""The checks, tier by tier. Importing this package defines them all."""

from . import contract as contract
