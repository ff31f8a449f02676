"""What joins the vision tower and the decoder, chosen by name.

    connector = build_connector({"type": "patch_merge_mlp", "merge_size": 2}, vision_width=192, text_width=576)

A new kind is one class (`connectors.base.Connector`) and one line in `CONNECTORS`.
"""

import inspect
from typing import Any

from connectors.base import Connector, ConnectorError, Grid
from connectors.merge import LinearConnector, PatchMergeMLP
from connectors.perceiver import PerceiverResampler

CONNECTORS: dict[str, type[Connector]] = {
    "patch_merge_mlp": PatchMergeMLP,
    "linear": LinearConnector,
    "perceiver": PerceiverResampler,
}
DEFAULT_CONNECTOR = "patch_merge_mlp"


def connector_options(kind: str) -> dict[str, Any]:
    """Options of a connector and their defaults."""
    if kind not in CONNECTORS:
        raise ConnectorError(f"unknown connector {kind!r}: choose one of {', '.join(CONNECTORS)}")
    parameters = inspect.signature(CONNECTORS[kind].__init__).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}


def resolve_connector_config(config: dict[str, Any] | None) -> dict[str, Any]:
    """`config` with `type` and every option of that type filled in; unknown options are an error."""
    given = dict(config or {})
    kind = given.pop("type", DEFAULT_CONNECTOR)
    options = connector_options(kind)
    unknown = sorted(set(given) - set(options))
    if unknown:
        raise ConnectorError(
            f"connector {kind!r} has no option {', '.join(map(repr, unknown))}: it takes {', '.join(options)}"
        )
    return {"type": kind, **options, **given}


def build_connector(config: dict[str, Any] | None, vision_width: int, text_width: int) -> Connector:
    """Build the connector that `config` (`type` and its options) names.

    Raises ConnectorError for an unknown type or option.
    """
    options = resolve_connector_config(config)
    kind = options.pop("type")
    return CONNECTORS[kind](vision_width, text_width, **options)


def connector_merge_size(config: dict[str, Any] | None) -> int:
    """Side of the square of patches that becomes one token; 1 for connectors that do not merge."""
    return int(resolve_connector_config(config).get("merge_size", 1))


def connector_num_queries(config: dict[str, Any] | None) -> int | None:
    """Tokens for every image where the connector fixes them, else None."""
    return resolve_connector_config(config).get("num_queries")


__all__ = [
    "CONNECTORS",
    "DEFAULT_CONNECTOR",
    "Connector",
    "ConnectorError",
    "Grid",
    "build_connector",
    "connector_merge_size",
    "connector_num_queries",
    "connector_options",
    "resolve_connector_config",
]
