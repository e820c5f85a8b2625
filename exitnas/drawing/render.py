"""From a genotype to a picture file, with whichever renderer the machine has."""

import shutil
import subprocess
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from exitnas.drawing.layout import CLASSES, arrange
from exitnas.drawing.plain import draw_with_matplotlib
from exitnas.drawing.sheet import Sheet
from exitnas.drawing.source import dot_source
from exitnas.drawing.svg import svg_of
from exitnas.errors import ExitnasError, require
from exitnas.exits.genotype import Genotype
from exitnas.files import replacing, write_text

SUFFIXES = (".svg", ".png", ".pdf", ".dot")
_SECONDS = 120


@dataclass(frozen=True)
class Drawn:
    """What `draw` wrote.

    Attributes:
        paths: the picture first, then the Graphviz source beside it; one path when only the source was asked for.
        renderer: name in `RENDERERS`, or `"none"` when only the source was asked for.
    """

    paths: tuple[Path, ...]
    renderer: str


class UnavailableError(Exception):
    """A renderer that this machine lacks, or that failed; its text says why."""


def draw(genotype: Genotype, output: Path, *, title: str | None = None, classes: int = CLASSES) -> Drawn:
    """Draw `genotype` to `output`; as `draw_sheet`.

    Args:
        title: first line of the title; by default it names the backbone.
        classes: C of the task, for the parameters of the classifiers.
    """
    picture_kind(output)
    return draw_sheet(arrange(genotype, title, classes=classes), output)


def picture_kind(output: Path | str) -> str:
    """The ending of `output` in small letters, one of `SUFFIXES`; `UsageError` for another."""
    kind, known = Path(output).suffix, ", ".join(SUFFIXES)
    require(kind.lower() in SUFFIXES, f"{output}: unknown kind of picture {kind!r}; give a file that ends in {known}")
    return kind.lower()


def draw_sheet(sheet: Sheet, output: Path | str) -> Drawn:
    """Draw `sheet` to `output`, and its Graphviz source to the same name with `.dot`, always.

    Renderers are tried in the order of `RENDERERS`. svg needs none but exitnas itself, pdf needs Graphviz.

    Args:
        output: a path that ends in svg, png, pdf or dot; what is there is replaced.

    Raises:
        UsageError: another ending.
        ExitnasError: no renderer is there (the source is written nevertheless), or the files cannot be written.
    """
    output, kind = Path(output), picture_kind(output)
    beside = output if kind == ".dot" else output.with_suffix(".dot")
    try:
        write_text(beside, dot_source(sheet))
        if kind == ".dot":
            return Drawn((output,), "none")
        reasons = []
        for name, renderer in RENDERERS.items():
            try:
                with replacing(output) as temporary:
                    renderer(sheet, temporary, kind[1:])
                return Drawn((output, beside), name)
            except UnavailableError as reason:
                reasons.append(f"{name}: {reason}")
    except OSError as error:
        raise ExitnasError(f"{output}: cannot write there ({error.strerror or error})") from None
    way_out = "install Graphviz, or write svg or png" if kind == ".pdf" else 'run pip install "exitnas[viz]"'
    raise ExitnasError(f"{output}: no renderer for it ({'; '.join(reasons)}); {way_out}; the source is in {beside}")


def _own(sheet: Sheet, path: Path, kind: str) -> None:
    if kind != "svg":
        raise UnavailableError("writes svg only")
    path.write_text(svg_of(sheet), encoding="utf-8")


def _graphviz(sheet: Sheet, path: Path, kind: str) -> None:
    executable = shutil.which("dot")
    if executable is None:
        raise UnavailableError("no dot on PATH")
    _run(executable, sheet, path, kind)


def _graphviz_pure(sheet: Sheet, path: Path, kind: str) -> None:
    if kind == "pdf":
        raise UnavailableError("writes no pdf")
    scripts = sysconfig.get_path("scripts")
    executable = shutil.which("graphviz-pure", path=scripts) or shutil.which("graphviz-pure")
    if executable is None:
        raise UnavailableError("not installed")
    _run(executable, sheet, path, kind)


def _matplotlib(sheet: Sheet, path: Path, kind: str) -> None:
    if kind == "pdf":
        raise UnavailableError("used for svg and png only")
    try:
        draw_with_matplotlib(sheet, path, kind)
    except ImportError:
        raise UnavailableError("not installed") from None


def _run(executable: str, sheet: Sheet, path: Path, kind: str) -> None:
    """Let a `dot`-like program draw the source from its stdin to `path`."""
    command = [executable, f"-T{kind}"] + (["-Gdpi=144"] if kind == "png" else [])
    try:
        done = subprocess.run(command, input=dot_source(sheet).encode(), capture_output=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"no answer within {_SECONDS} s") from None
    except OSError as error:
        raise UnavailableError(f"did not start: {error.strerror}") from None
    if done.returncode or not done.stdout:
        reason = done.stderr.decode(errors="replace").strip().splitlines()
        raise UnavailableError(f"failed: {reason[-1] if reason else f'exit code {done.returncode}'}")
    path.write_bytes(done.stdout)


#: The renderers in the order they are tried.
RENDERERS: dict[str, Callable[[Sheet, Path, str], None]] = {
    "exitnas": _own,
    "graphviz": _graphviz,
    "graphviz-pure": _graphviz_pure,
    "matplotlib": _matplotlib,
}
