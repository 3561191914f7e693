"""Models that results are made of, alone or inside of other kinds."""

from pydantic import BaseModel, ConfigDict, computed_field


class Line(BaseModel):
    """It refuses fields that it does not know, and writes one that it computes."""

    model_config = ConfigDict(extra="forbid")
    net: int

    @computed_field
    @property
    def gross(self) -> int:
        return self.net * 2
