"""Serializers for ``output_serializer``: dataclasses, Pydantic models, or your own functions."""

from .reference.serialization import (
    BaseIdempotencyModelSerializer,
    BaseIdempotencySerializer,
    CustomDictSerializer,
    DataclassSerializer,
    PydanticSerializer,
)

__all__ = [
    "BaseIdempotencyModelSerializer",
    "BaseIdempotencySerializer",
    "CustomDictSerializer",
    "DataclassSerializer",
    "PydanticSerializer",
]
