"""How the terms of an objective are weighed against each other (LeeBERT section 3.2-3.4), one file per idea.

To add one: subclass `exitnas.objectives.weighting.base.Weighting` in a file of this folder and add its row here.
"""

from exitnas.registry import Registry

WEIGHTINGS = Registry(
    "weighting",
    {
        "uniform": "exitnas.objectives.weighting.base:Weighting",
        "random": "exitnas.objectives.weighting.random:RandomWeights",
        "slo": "exitnas.objectives.weighting.learned:SingleLevel",
        "blo": "exitnas.objectives.weighting.learned:BiLevel",
        "clo_v1": "exitnas.objectives.weighting.cross_level:CrossLevelV1",
        "clo_v2": "exitnas.objectives.weighting.cross_level:CrossLevel",
    },
)
