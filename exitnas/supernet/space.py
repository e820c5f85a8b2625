"""Search spaces: which operations every edge of an exit may take. Data in `search_spaces/*.yaml`, no code."""

from math import prod
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from exitnas.errors import UsageError
from exitnas.exits.genotype import Activation, Encoder, ExitGenotype, Genotype, Origin, Pooling, check_heads
from exitnas.exits.operations import EDGES
from exitnas.files import check_name, read_yaml
from exitnas.registry import nearest
from exitnas.schema import Frozen, parse

_PACKAGE = Path(__file__).resolve().parents[1]
#: In a wheel the spaces lie inside the package, in a checkout beside it.
FOLDERS = (_PACKAGE / "search_spaces", _PACKAGE.parent / "search_spaces")
DEFAULT_SPACE = "leco"


def _names(value: Any) -> Any:
    """YAML reads a bare null as None; in a list of operations it can only mean the operation of that name."""
    return ["null" if item is None else item for item in value] if isinstance(value, list) else value


_null = BeforeValidator(_names)


class SearchSpace(Frozen):
    """The candidates of every edge; the same for every layer, chosen per layer (a macro space, LECO 4)."""

    name: Annotated[str, AfterValidator(check_name)]
    """Name, equal to the file's; part of the names of run directories."""
    description: str
    """One line on what the space holds."""
    width: int | None = Field(ge=1)
    """Exit width d; null for exits without down-projection."""
    activation_in: Annotated[tuple[Activation, ...], _null]
    """Candidates after the down-projection."""
    encoder_1: Annotated[tuple[Encoder, ...], _null]
    """Candidates of the first encoder edge."""
    encoder_2: Annotated[tuple[Encoder, ...], _null]
    """Candidates of the second encoder edge."""
    pooling: Annotated[tuple[Pooling, ...], _null]
    """Candidate poolings."""
    activation_out: Annotated[tuple[Activation, ...], _null]
    """Candidates before the classifier."""

    @field_validator(*EDGES)
    @classmethod
    def _distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or len(set(value)) != len(value):
            raise ValueError(f"expected at least one operation and none twice, got {list(value)}")
        return value

    @model_validator(mode="after")
    def _encodes(self) -> "SearchSpace":
        if {*self.encoder_1, *self.encoder_2} == {"null"}:
            raise ValueError("encoder_1 and encoder_2 hold only null, so nothing would reach the pooling")
        if self.width is not None:
            self._check_heads(self.width)
        return self

    def _check_heads(self, width: int) -> None:
        for edge in ("encoder_1", "encoder_2"):
            for operation in self.candidates(edge):
                check_heads(edge, operation, width)

    def check_fits(self, hidden_size: int) -> None:
        """Refuse an encoder whose hidden size is the exits' width (`width: null`) and does not divide into heads.

        Raises:
            UsageError: names the candidate.
        """
        try:
            self._check_heads(hidden_size if self.width is None else self.width)
        except ValueError as error:
            raise UsageError(
                f"space {self.name}: {error}, the encoder's hidden size; set a width or choose another backbone"
            ) from None

    def with_width(self, width: int | None) -> "SearchSpace":
        """The space with exits of another width d; None leaves it as it is.

        Raises:
            UsageError: the heads of a candidate do not divide the width.
        """
        if width is None:
            return self
        try:
            self._check_heads(width)
        except ValueError as error:
            raise UsageError(
                f"--exit-width {width}: {error}; choose another width, or a space without it than {self.name}"
            ) from None
        return self.model_copy(update={"width": width})

    def candidates(self, edge: str) -> tuple[str, ...]:
        """The operations of one of `EDGES`."""
        return tuple(getattr(self, edge))

    def exits(self) -> int:
        """Number of choices per layer: the product over all edges, as LECO 4 counts, with both encoder edges."""
        return prod(len(self.candidates(edge)) for edge in EDGES)

    def architectures(self, layers: int) -> int:
        """Number of multi-exit models over `layers` layers."""
        return self.exits() ** layers

    def only_genotype(self, backbone: str, layers: int, hidden_size: int, origin: Origin) -> Genotype:
        """The single point of a space with one candidate per edge (`linear`, `mha`).

        Raises:
            UsageError: the space holds more than one point, or does not fit the hidden size.
        """
        if self.exits() != 1:
            raise UsageError(f"space {self.name} holds {self.exits()} exits per layer; a search has to choose")
        self.check_fits(hidden_size)
        exit_ = ExitGenotype(
            activation_in=self.activation_in[0],
            encoder=(self.encoder_1[0], self.encoder_2[0]),
            pooling=self.pooling[0],
            activation_out=self.activation_out[0],
        )
        return Genotype(
            backbone=backbone,
            layers=layers,
            hidden_size=hidden_size,
            width=self.width,
            exits=(exit_,) * layers,
            origin=origin,
        )


def space_names() -> list[str]:
    """Names of the spaces that come with exitnas, the default first."""
    found = {path.stem for folder in FOLDERS for path in folder.glob("*.yaml")}
    return sorted(found, key=lambda name: (name != DEFAULT_SPACE, name))


def load_space(name: str) -> SearchSpace:
    """Read a space by name, or from the path of a YAML file of one's own.

    Raises:
        UsageError: no space has that name (the message has the nearest ones), or no such file.
        ExitnasError: the file is wrong; the message has the path of the value inside the file.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name).expanduser()
        if not path.is_file():
            raise UsageError(f"--space {name}: no such file; give a space's name or the path of its YAML file")
    else:
        paths = [folder / f"{name}.yaml" for folder in FOLDERS]
        path = next((p for p in paths if p.is_file()), paths[-1])
        if name not in space_names():
            raise UsageError(f"unknown search space {name!r}: {nearest(name, space_names())}")
    return parse(SearchSpace, read_yaml(path), str(path))
