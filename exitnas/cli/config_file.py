"""Settings from a file (`--config`): the same keys as the flags; also any run directory's `config.json`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from exitnas.errors import UsageError
from exitnas.files import json_kind, read_json, read_yaml
from exitnas.registry import nearest
from exitnas.settings import SettingError, TrainingSettings, check_kind, make_settings

S = TypeVar("S", bound=TrainingSettings)

#: Keys that are flags and no settings: which type they have, and the command's own name for them.
JOB_KEYS: dict[str, tuple[Any, str]] = {
    "output": (str, "output"),
    "overwrite": (bool, "overwrite"),
    "resume": (bool, "resume"),
    "checkpoint_minutes": (float | int, "checkpoint_minutes"),
    "json": (bool, "as_json"),
    "quiet": (bool, "quiet"),
}
PLAN = ("objective", "weighting", "gradient")
#: Settings that a recipe given as a flag replaces as a whole.
OF_A_RECIPE = ("recipe", "lte", *PLAN, *(f"{word}_options" for word in PLAN))
#: What a command is called with, for the message that a file belongs to another command.
USAGE = {"search": "exitnas search", "retrain": "exitnas retrain GENOTYPE"}


@dataclass(frozen=True)
class ConfigFile:
    """What a config file says.

    Attributes:
        path: as it was given, for messages.
        settings: by the name of the setting; a setting that may be empty can be None, which then overrides defaults.
        job: output folder and switches, by the command's own names.
    """

    path: str
    settings: dict[str, Any]
    job: dict[str, Any]

    @classmethod
    def read(cls, path: str | None, command: str, model: type[TrainingSettings]) -> "ConfigFile":
        """Read a YAML or JSON file, or the `config.json` of a run directory; None gives an empty one.

        Keys may be written as flags are (`exit-lr`) or as settings are (`exit_lr`). Paths mean what they mean as flags.

        Args:
            command: the command that asks; the config of a run of another command is refused.
            model: the settings of that command; its fields are the keys.

        Raises:
            UsageError: no such file, another command's config, an unknown key, or a value that cannot be one.
            ExitnasError: not UTF-8, or neither YAML nor JSON.
        """
        if path is None:
            return cls("", {}, {})
        file = Path(path).expanduser()
        if file.is_dir():
            file = file / "config.json"
        if not file.is_file():
            raise UsageError(f"--config {path}: no such file; give a YAML or JSON file, or the directory of a run")
        content = read_json(file) if file.suffix == ".json" else read_yaml(file)
        if isinstance(content, dict) and isinstance(content.get("settings"), dict):
            made_by = content.get("command", command)
            if made_by != command:
                usage = USAGE.get(str(made_by))
                advice = f"use {usage} --config {path}" if usage else f"give the config of a {command}"
                raise UsageError(f"{path}: holds the settings of command {made_by!r}, not of {command!r}; {advice}")
            content = content["settings"]
        if not isinstance(content, dict):
            raise UsageError(f"{path}: expected keys and values such as 'epochs: 5', got {json_kind(content)}")
        return cls(path, *_sorted_out(path, content, model))

    def job_values(self, **flags: Any) -> dict[str, Any]:
        """Output folder and switches under the flags, which win where they were given."""
        given = {name: value for name, value in flags.items() if value is not None and value is not False}
        of_file = dict(self.job)
        for flag, other in (("resume", "overwrite"), ("overwrite", "resume")):  # one excludes the other
            if flag in given:
                of_file.pop(other, None)
        return {**flags, **of_file, **given}

    def without_plan(self) -> "ConfigFile":
        """The same file without its way of training: what is left beside a recipe given as a flag."""
        kept = {key: value for key, value in self.settings.items() if key not in OF_A_RECIPE}
        return ConfigFile(self.path, kept, self.job)

    def under(self, flags: dict[str, Any]) -> dict[str, Any]:
        """The file's settings under the flags that were given (not None).

        Options of objective, weighting and gradient rule are merged one by one, unless a flag names another rule.
        """
        flags = {name: value for name, value in flags.items() if value is not None}
        values = {**self.settings, **flags}
        for word in PLAN:
            key, rule = f"{word}_options", self.settings.get(word)
            of_file = self.settings.get(key, {}) if rule in (None, flags.get(word, rule)) else {}
            if key in values:
                values[key] = {**of_file, **flags.get(key, {})}
        return values

    def make(self, model: type[S], values: dict[str, Any], flags: dict[str, Any]) -> S:
        """Settings from `values`; a wrong one is blamed on the file where it stands there and no flag was given.

        Raises:
            UsageError: a value is out of range; the message names the option, or the file and the key.
        """
        try:
            return make_settings(model, **values)
        except SettingError as error:
            key = error.setting.split(".")[0]
            if key not in self.settings or flags.get(key) is not None:
                raise
            raise UsageError(f"{self.path}: {error.setting}: {error.reason}") from None


def _sorted_out(
    path: str, content: dict[Any, Any], model: type[TrainingSettings]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings and job values of a file's keys."""
    settings: dict[str, Any] = {}
    job: dict[str, Any] = {}
    given: dict[str, str] = {}
    for raw, value in content.items():
        key = str(raw).replace("-", "_")
        if f"{key}s" in model.model_fields and key.endswith("_option"):
            key = f"{key}s"
        if key in given:
            raise UsageError(f"{path}: {raw} and {given[key]} are the same key; leave one of them out")
        given[key] = str(raw)
        if key in JOB_KEYS:
            kind, name = JOB_KEYS[key]
            if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
                expected = {bool: "true or false", str: "text"}.get(kind, "a number")
                raise UsageError(f"{path}: {raw}: expected {expected}, got {json_kind(value)}")
            if isinstance(value, float | int) and not 0 <= value < float("inf"):
                raise UsageError(f"{path}: {raw}: expected a number, 0 or more, got {value}")
            job[name] = value
        elif key in model.model_fields:
            check_kind(f"{path}: {raw}", value, model.model_fields[key].annotation)
            settings[key] = value
        else:
            raise UsageError(f"{path}: {raw}: unknown key; {nearest(key, [*model.model_fields, *JOB_KEYS])}")
    return settings, job
