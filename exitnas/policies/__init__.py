"""Exit policies: when a sample may leave. One file each; the table below is what `--policy` knows."""

from exitnas.registry import Registry

POLICIES = Registry(
    "policy",
    {
        "static": "exitnas.policies.static:Static",
        "entropy": "exitnas.policies.entropy:Entropy",
        "max_prob": "exitnas.policies.max_prob:MaxProb",
        "patience": "exitnas.policies.patience:Patience",
        "cobee": "exitnas.policies.cobee:Cobee",
        "voting": "exitnas.policies.voting:Voting",
        "hybrid": "exitnas.policies.hybrid:Hybrid",
        "lte": "exitnas.policies.lte:LearningToExit",
        "oracle": "exitnas.policies.oracle:Oracle",
    },
)
