"""Which type of node Ray's autoscaler starts: spot while it is to be had, on demand where it is not.

Ray scores node types by how well they fit, and nothing else, so that it would ask for spot instances for ever where
there are none. It takes a scorer of one's own by the name in `RAY_AUTOSCALER_UTILIZATION_SCORER`: see cluster.yaml.
"""

from __future__ import annotations

from typing import Any

from ray.autoscaler._private.resource_demand_scheduler import _default_utilization_scorer


def score(
    node_resources: dict[str, Any], resources: list[dict[str, Any]], node_type: str, *, node_availability_summary: Any
) -> tuple[Any, ...] | None:
    """Ray's own score, after whether the type could be had when it was last asked for (of the last half hour).

    Args:
        node_resources: What a node of this type has.
        resources: What is asked for.
        node_type: The type's name.
        node_availability_summary: What became of the last attempts to start a node, by type.

    Returns:
        A tuple, larger is better, or None if such a node is of no use.
    """
    fit = _default_utilization_scorer(
        node_resources, resources, node_type, node_availability_summary=node_availability_summary
    )
    if fit is None:
        return None
    last = node_availability_summary.node_availabilities.get(node_type)
    return last is None or last.is_available, *fit
