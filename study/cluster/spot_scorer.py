"""A scorer by which Ray's autoscaler chooses the type of its next node: spot if it is to be had, else on demand.

Ray's own scorer looks only at how well a type fits, so it would ask for spot instances for ever where there are none.
Ray takes another scorer by the name in `RAY_AUTOSCALER_UTILIZATION_SCORER`: see cluster.yaml. This one does not handle
interruption notices: a spot node that is taken is lost as any node is, and its trials go on from their checkpoints.
"""

from __future__ import annotations

from typing import Any

from ray.autoscaler._private.resource_demand_scheduler import _default_utilization_scorer


def score(
    node_resources: dict[str, Any], resources: list[dict[str, Any]], node_type: str, *, node_availability_summary: Any
) -> tuple[Any, ...] | None:
    """Scores a type of node: first by whether it was available within the last half hour, then as Ray does.

    Ray calls it with the resources of a node of this type, those that are wanted, the type's name, and the outcomes of
    the last attempts to start a node. Returns a tuple, larger is better, or None if such a node is of no use.
    """
    fit = _default_utilization_scorer(
        node_resources, resources, node_type, node_availability_summary=node_availability_summary
    )
    if fit is None:
        return None
    last = node_availability_summary.node_availabilities.get(node_type)
    return last is None or last.is_available, *fit
