"""Training objectives of multi-exit models, one file each.

To add one: subclass `exitnas.objectives.base.Objective` in a file of this folder and add its row here; the contract
tests pick the row up. Loss weightings and gradient rules, which compose with objectives, have registries of their own
in the sub-packages `weighting` and `gradient`; `plan` says which combinations make sense.
"""

from exitnas.registry import Registry

OBJECTIVES = Registry(
    "objective",
    {
        "joint": "exitnas.objectives.joint:Joint",
        "weighted": "exitnas.objectives.weighted:Weighted",
        "two_stage": "exitnas.objectives.two_stage:TwoStage",
        "alternating": "exitnas.objectives.alternating:Alternating",
        "self_distillation": "exitnas.objectives.self_distillation:SelfDistillation",
        "mutual": "exitnas.objectives.mutual:Mutual",
        "global_past_future": "exitnas.objectives.global_past_future:GlobalPastFuture",
        "diversity": "exitnas.objectives.diversity:Diversity",
        "last": "exitnas.objectives.last:Last",
    },
)
