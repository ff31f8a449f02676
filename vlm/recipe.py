"""Recipes: one YAML file a run, read into a strict pydantic model, changed by ``key=value`` on the command line.

A key that the recipe does not know is an error that names the nearest one that it does know: a misspelt learning rate
must stop a run, not leave the default in place.
"""

import difflib
import hashlib
import json
import re
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from vlm.errors import MedVLMError


class RecipeError(MedVLMError):
    """A recipe or an override cannot be used; the sentence names the key and the nearest known one."""


class RecipeModel(BaseModel):
    """Base of every recipe and of the sections in it: unknown keys are refused, values cannot change later."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    def digest(self) -> str:
        """Hash of the resolved recipe (16 hex digits): equal for equal settings, whatever the YAML looked like."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


R = TypeVar("R", bound=RecipeModel)


def load_recipe(model: type[R], path: str | Path | None, overrides: Sequence[str] = ()) -> R:
    """Read ``path`` (None: only defaults), apply ``a.b=value`` overrides, validate.

    Values of overrides are YAML (``lr=1e-4``, ``freeze=[vision_tower]``, ``name=null``); a dotted key reaches into a
    section.

    Raises:
        RecipeError: file missing, not YAML, unknown key, or a value of the wrong kind.
    """
    data = _read_yaml(Path(path)) if path is not None else {}
    where = str(path) if path is not None else "the command line"
    for override in overrides:
        _apply_override(data, override)
    _reject_unknown(model, data, where)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        lines = [f"{'.'.join(str(k) for k in e['loc']) or 'recipe'}: {e['msg']}" for e in error.errors()]
        raise RecipeError(f"{where}: " + "; ".join(lines)) from error


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_NumberLoader)
    except FileNotFoundError:
        near = sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        hint = f"; in {path.parent} there are: {', '.join(near)}" if near else ""
        raise RecipeError(f"there is no recipe {path}{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"the recipe {path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"the recipe {path} is not YAML: {error}") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise RecipeError(f"the recipe {path} must be a mapping of keys to values")
    return data


class _NumberLoader(yaml.SafeLoader):
    """YAML 1.1 reads ``1e-4`` as a string; people who type a learning rate mean a number."""


_NumberLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def _apply_override(data: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"{override!r} is not an override: write key=value, for example optimizer.lr=1e-4")
    try:
        parsed = yaml.load(value, Loader=_NumberLoader)
    except yaml.YAMLError as error:
        raise RecipeError(f"the value of {key!r} is not YAML: {error}") from error
    *sections, last = key.strip().split(".")
    for section in sections:
        child = data.setdefault(section, {})
        if not isinstance(child, dict):
            raise RecipeError(f"{key!r} reaches into {section!r}, which is a value and not a section")
        data = child
    data[last] = parsed


def _reject_unknown(model: type[BaseModel], data: dict[str, Any], where: str, prefix: str = "") -> None:
    for key, value in data.items():
        field = model.model_fields.get(key)
        if field is None:
            known = sorted(model.model_fields)
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
            elsewhere = [] if near else _paths_named(model, str(key))
            if near:
                hint = f"did you mean {prefix}{near[0]}?"
            elif elsewhere:
                hint = f"did you mean {prefix}{elsewhere[0]}?"
            else:
                hint = f"known keys: {', '.join(prefix + k for k in known)}"
            raise RecipeError(f"{where}: unknown key {prefix}{key}; {hint}")
        section = _section_of(field.annotation)
        if section is not None and isinstance(value, dict):
            _reject_unknown(section, value, where, f"{prefix}{key}.")


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """The pydantic model behind ``Section`` or ``Section | None``; None for plain values and for unions of models."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        models = [a for a in typing.get_args(annotation) if isinstance(a, type) and issubclass(a, BaseModel)]
        return models[0] if len(models) == 1 else None
    return None


def _paths_named(model: type[BaseModel], key: str, prefix: str = "") -> list[str]:
    found = []
    for name, field in model.model_fields.items():
        section = _section_of(field.annotation)
        if section is not None:
            if difflib.get_close_matches(key, list(section.model_fields), n=1, cutoff=0.75):
                near = difflib.get_close_matches(key, list(section.model_fields), n=1, cutoff=0.75)[0]
                found.append(f"{prefix}{name}.{near}")
            found += _paths_named(section, key, f"{prefix}{name}.")
    return found
