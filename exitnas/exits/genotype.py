"""The genotype: which operations the exit of every layer uses, as JSON with a published schema."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from exitnas.errors import UsageError
from exitnas.exits.operations import ACTIVATIONS, EDGES, ENCODERS, POOLINGS
from exitnas.files import json_text, read_json, write_text
from exitnas.registry import Registry
from exitnas.schema import Frozen, parse

SCHEMA_VERSION: Literal[1] = 1
MAX_SIZE = 1_000_000
"""Largest hidden size or width taken."""
SCHEMA_FILE = Path(__file__).with_name("genotype.schema.json")


def _name_in(registry: Registry) -> Any:
    """A string type that only takes the names of `registry`, now and after rows were added."""

    def check(name: str) -> str:
        try:
            return registry.check(name)
        except UsageError as error:
            raise ValueError(str(error)) from None

    return Annotated[str, AfterValidator(check), WithJsonSchema({"type": "string", "enum": registry.names()})]


Activation: Any = _name_in(ACTIVATIONS)
Encoder: Any = _name_in(ENCODERS)
Pooling: Any = _name_in(POOLINGS)


class ExitGenotype(Frozen):
    """One exit: Linear D->d, activation, sum of two encoder operations, pooling, activation, Linear d->C (LECO 4)."""

    activation_in: Activation
    """Activation after the down-projection."""
    encoder: tuple[Encoder, Encoder]
    """The two encoder operations; both read the cell's input, their outputs are summed."""
    pooling: Pooling
    """How tokens become one vector."""
    activation_out: Activation
    """Activation before the classifier."""
    repaired: Literal["encoder_1", "encoder_2"] | None = None
    """The edge that took its best other operation, because the arg-max of both edges was null, or of both skip."""

    refined: bool = False
    """Whether this exit replaced the arg-max one because it did better when trained alone on the hidden states."""

    @model_validator(mode="after")
    def _something_reaches_the_pooling(self) -> "ExitGenotype":
        if self.encoder == ("null", "null"):
            raise ValueError("both encoder operations are null, so nothing reaches the pooling; expected at most one")
        return self

    def operation(self, edge: str) -> str:
        """The operation on one of `EDGES`."""
        if edge.startswith("encoder_"):
            return self.encoder[int(edge[-1]) - 1]
        return str(getattr(self, edge))


class Origin(Frozen):
    """Where a genotype came from; retraining takes its defaults from here."""

    task: str | None = None
    """Task name, or the path of the task's YAML file."""
    data_dir: str | None = None
    """Folder of local data files, when one was given."""
    data_source: str | None = None
    """The source the data was read from, in words."""
    space: str | None = None
    """Name of the search space."""
    seed: int | None = None
    """Seed of the search."""
    exitnas_version: str | None = None
    """Version of exitnas that wrote the genotype."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Settings of the search (epochs, batch size, learning rates, ...)."""


class Genotype(Frozen):
    """The exits of a whole encoder, first layer first."""

    schema_version: Literal[1] = SCHEMA_VERSION
    """Version of this schema."""
    backbone: str
    """Name of the encoder: an alias, a hub id or a folder."""
    layers: int = Field(ge=1)
    """Number of encoder layers; one exit each."""
    hidden_size: int = Field(ge=1, le=MAX_SIZE)
    """Hidden size D of the encoder."""
    width: int | None = Field(ge=1, le=MAX_SIZE)
    """Exit width d; null for exits without down-projection, which work at d = D."""
    exits: tuple[ExitGenotype, ...]
    """One exit per layer, first layer first."""
    probabilities: tuple[dict[str, dict[str, float]], ...] | None = None
    """Per layer and edge the probability of every candidate when the search ended; null when nothing was searched."""
    origin: Origin = Origin()
    """Where the genotype came from."""

    @model_validator(mode="after")
    def _consistent(self) -> "Genotype":
        if len(self.exits) != self.layers:
            raise ValueError(f"exits: expected one per layer ({self.layers}), got {len(self.exits)}")
        if self.probabilities is not None:
            if len(self.probabilities) != self.layers:
                raise ValueError(
                    f"probabilities: expected one per layer ({self.layers}), got {len(self.probabilities)}"
                )
            for index, edges in enumerate(self.probabilities):
                if set(edges) != set(EDGES):
                    raise ValueError(f"probabilities.{index}: expected the edges {', '.join(EDGES)}")
                for edge, candidates in edges.items():
                    chosen = self.exits[index].operation(edge)
                    if chosen not in candidates:
                        raise ValueError(
                            f"probabilities.{index}.{edge}: lacks the chosen operation {chosen}; "
                            f"it lists {', '.join(candidates)}"
                        )
        for index, exit_ in enumerate(self.exits):
            for position, operation in enumerate(exit_.encoder):
                check_heads(f"exits.{index}.encoder.{position}", operation, self.exit_width)
        return self

    @property
    def exit_width(self) -> int:
        """d: the width the cells work at."""
        return self.hidden_size if self.width is None else self.width

    def check_fits(self, layers: int, hidden_size: int, backbone: str) -> None:
        """Refuse a backbone this genotype was not made for.

        Raises:
            UsageError: the layer count or the hidden size differs.
        """
        if (layers, hidden_size) != (self.layers, self.hidden_size):
            raise UsageError(
                f"the genotype is for {self.layers} layers of hidden size {self.hidden_size} ({self.backbone}), but "
                f"backbone {backbone} has {layers} layers of hidden size {hidden_size}; "
                f"search on {backbone} or choose --backbone {self.backbone}"
            )

    def to_json(self) -> str:
        """The text of a genotype file; equal genotypes give equal bytes."""
        return json_text(self.model_dump(mode="json"))

    def save(self, path: Path | str) -> None:
        """Write the genotype to `path` in one rename."""
        write_text(path, self.to_json())

    @classmethod
    def load(cls, path: Path | str) -> "Genotype":
        """Read a genotype file.

        Raises:
            ExitnasError: the file is missing or wrong; the message has the path of the value inside the file.
        """
        return parse(cls, read_json(path), str(path))


def check_heads(path: str, operation: str, width: int) -> None:
    """`ValueError` when the encoder operation at `path` has attention heads that do not divide `width`."""
    heads = ENCODERS.fixed(operation).get("heads", 1)
    if width % heads:
        raise ValueError(f"{path}: {operation} needs a width divisible by {heads}, got width {width}")


def json_schema() -> dict[str, Any]:
    """The JSON Schema of genotype files (draft 2020-12), as published in `genotype.schema.json`."""
    schema = Genotype.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "exitnas genotype", **schema}


def write_schema() -> None:
    """Write the published schema file; a test fails when it is out of date."""
    write_text(SCHEMA_FILE, json.dumps(json_schema(), indent=2) + "\n")
