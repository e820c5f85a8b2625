"""Every objective's formula against numbers worked out by hand or an independent version in a few lines."""

import math

import pytest
import torch
from tiny_model import B, E, tiny_logits
from torch.nn import functional

from exitnas.errors import UsageError
from exitnas.objectives import OBJECTIVES
from exitnas.objectives.base import Step
from exitnas.objectives.distillation import distillation_losses
from exitnas.objectives.options import build

START = Step(0, 0)


def make(name, **options):
    return build(OBJECTIVES, name, options)


def ce(logits, labels):
    return functional.cross_entropy(logits, labels)


def kd(student, teacher, tau=1.0):
    """LeeBERT eq. 2, sample by sample and class by class."""
    total = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        p = [math.exp(x / tau) for x in t]
        q = [math.exp(x / tau) for x in s]
        total += -(tau**2) * sum(a / sum(p) * math.log(b / sum(q)) for a, b in zip(p, q, strict=True))
    return total / len(student)


def gradients(total, logits):
    return torch.autograd.grad(total, logits, allow_unused=True)


def test_joint_is_the_sum_of_the_exits():
    logits = [torch.tensor([[0.0, 0.0]]), torch.tensor([[math.log(3.0), 0.0]])]
    terms = make("joint").terms(logits, torch.tensor([0]), START)
    assert terms.total().item() == pytest.approx(math.log(2) + math.log(4 / 3))


def test_weighted_counts_deeper_exits_more():
    logits, labels = tiny_logits()
    a, b, c = (ce(x, labels).item() for x in logits)
    assert make("weighted").terms(logits, labels, START).total().item() == pytest.approx((a + 2 * b + 3 * c) / 6)
    uniform = make("weighted", weights="uniform").terms(logits, labels, START)
    assert uniform.total().item() == pytest.approx((a + b + c) / 3)


def trained_exits(objective, step):
    logits, labels = tiny_logits()
    total = objective.terms(logits, labels, step).total()
    return total.item(), [m for m, g in enumerate(gradients(total, logits), start=1) if g is not None]


def test_two_stage_trains_the_last_exit_then_the_others():
    logits, labels = tiny_logits()
    losses = [ce(x, labels).item() for x in logits]
    two = make("two_stage", first=0.25)
    assert [stage.share for stage in two.stages()] == [0.25, 0.75]
    assert [(stage.backbone, stage.exits, stage.select) for stage in two.stages()] == [
        (True, "last", "last"),
        (False, "early", "avg"),
    ]
    assert trained_exits(two, Step(0, 0, 0)) == (pytest.approx(losses[-1]), [E])
    assert trained_exits(two, Step(9, 4, 1)) == (pytest.approx(sum(losses[:-1])), [1, 2])


@pytest.mark.parametrize(("by", "odd", "even"), [("step", (4, 1), (5, 0)), ("epoch", (7, 0), (6, 1))])
def test_alternating_takes_turns(by, odd, even):
    logits, labels = tiny_logits()
    losses = [ce(x, labels).item() for x in logits]
    objective = make("alternating", by=by)
    assert trained_exits(objective, Step(*odd)) == (pytest.approx(losses[-1]), [E])
    assert trained_exits(objective, Step(*even)) == (pytest.approx(sum(losses)), [1, 2, 3])


@pytest.mark.parametrize("tau", [1.0, 2.5])
def test_distillation_loss_by_hand(tau):
    logits, _ = tiny_logits()
    losses = distillation_losses(logits[:2], logits, tau)
    assert losses.shape == (2, E)
    for m in range(2):
        for t in range(E):
            assert losses[m, t].item() == pytest.approx(kd(logits[m], logits[t], tau), rel=1e-5)


def test_distillation_pulls_the_student_to_the_teacher_with_a_gradient_of_tau_times_the_difference():
    """d/ds of -tau^2 sum t^(1/tau) log s^(1/tau) is tau (s^(1/tau) - t^(1/tau)); the teacher gets none."""
    (student, teacher, _), _ = tiny_logits()
    for_student, for_teacher = gradients(distillation_losses([student], [teacher], 3.0).sum(), [student, teacher])
    expected = 3.0 * (torch.softmax(student / 3, -1) - torch.softmax(teacher / 3, -1)) / B
    assert torch.allclose(for_student, expected, atol=1e-6)
    assert for_teacher is None
    pulled = gradients(distillation_losses([student], [teacher], 3.0, detach=False).sum(), [teacher])[0]
    assert pulled.abs().max() > 1e-3


TEACHERS = {
    "all": {0: [1, 2], 1: [0, 2], 2: [0, 1]},
    "later": {0: [1, 2], 1: [2], 2: []},
    "last": {0: [2], 1: [2], 2: []},
}


@pytest.mark.parametrize("teachers", TEACHERS)
@pytest.mark.parametrize("average", [True, False])
def test_mutual_sums_over_its_teachers(teachers, average):
    logits, labels = tiny_logits()
    expected = sum(ce(x, labels).item() for x in logits)
    for m, others in TEACHERS[teachers].items():
        for t in others:
            expected += kd(logits[m], logits[t], 2.0) / (E * len(others) if average else 1)
    objective = make("mutual", teachers=teachers, temperature=2.0, average=average)
    terms = objective.terms(logits, labels, START)
    assert terms.total().item() == pytest.approx(expected, rel=1e-5)
    assert terms.losses.shape == (E, 1 + E)
    assert len(objective.columns(E)) == 1 + E
    assert ((terms.coefficients[:, 1:] != 0).nonzero().tolist()) == [
        [m, t] for m, others in TEACHERS[teachers].items() for t in others
    ]


def test_mutual_as_gaml_bert_writes_it():
    logits, labels = tiny_logits()
    task = sum(m * ce(x, labels).item() for m, x in enumerate(logits, 1)) / 6
    distilled = sum(kd(logits[m], logits[t]) for m in range(E) for t in range(E) if m != t)
    objective = make("mutual", alpha=0.2, average=False, weights="depth")
    assert objective.terms(logits, labels, START).total().item() == pytest.approx(
        0.8 * task + 0.2 * distilled, rel=1e-5
    )


def test_mutual_with_the_last_teacher_is_single_stage_self_distillation():
    logits, labels = tiny_logits()
    one = make("mutual", teachers="last", temperature=2.0).terms(logits, labels, START).total()
    other = make("self_distillation", stages=1, temperature=2.0).terms(logits, labels, START).total()
    assert one.item() == pytest.approx(other.item(), rel=1e-6)
    for a, b in zip(gradients(one, logits), gradients(other, logits), strict=True):
        assert torch.allclose(a, b, atol=1e-7)


def test_self_distillation_in_two_stages_uses_labels_once():
    logits, labels = tiny_logits()
    objective = make("self_distillation")
    assert [(stage.backbone, stage.exits) for stage in objective.stages()] == [(True, "last"), (False, "early")]
    assert trained_exits(objective, Step(0, 0, 0)) == (pytest.approx(ce(logits[-1], labels).item()), [E])
    total = objective.terms(logits, labels, Step(5, 1, 1)).total()
    assert total.item() == pytest.approx(kd(logits[0], logits[2]) + kd(logits[1], logits[2]), rel=1e-5)
    other_labels = objective.terms(logits, (labels + 1) % 3, Step(5, 1, 1)).total()
    assert other_labels.item() == total.item()
    assert gradients(total, logits)[2] is None


def cross(p_logits, q_logits):
    """CE(x_i, x_j) = -sum_k p_j log p_i of one sample."""
    p, q = torch.softmax(p_logits, -1).tolist(), torch.softmax(q_logits, -1).tolist()
    return -sum(a * math.log(b) for a, b in zip(p, q, strict=True))


@pytest.mark.parametrize("alpha", ["uniform", "depth"])
@pytest.mark.parametrize("last", [1, 0])
def test_diversity_takes_the_least_difference_per_sample(alpha, last):
    logits, labels = tiny_logits()
    expected = sum((m if alpha == "depth" else 1) * ce(x, labels).item() for m, x in enumerate(logits, 1))
    for i in range(1, E if last else E - 1):
        least = [min(cross(logits[j][b], logits[i][b]) for j in range(i)) for b in range(B)]
        expected -= 0.3 * sum(least) / B
    objective = make("diversity", alpha=alpha, beta_last=last, **{"lambda": 0.3})
    assert objective.terms(logits, labels, START).total().item() == pytest.approx(expected, rel=1e-5)


def test_diversity_of_two_classes_is_label_smoothing_with_the_other_exit():
    """Ensemble paper eq. 18: CE(q, y) - lambda CE(q, p) = CE(q, p') + lambda log(1 - q_c)."""
    p, q, lam = 0.7, 0.6, 0.2
    logits = [torch.tensor([[math.log(x), math.log(1 - x)]]) for x in (p, q)]
    terms = make("diversity", **{"lambda": lam}).terms(logits, torch.tensor([0]), START)
    softened = -((1 - lam * p) * math.log(q) + lam * p * math.log(1 - q))
    expected = -math.log(p) + softened + lam * math.log(1 - q)
    assert terms.total().item() == pytest.approx(expected, rel=1e-5)


def test_imitation_is_the_mean_angle_to_the_deeper_states():
    logits, labels = tiny_logits()
    generator = torch.Generator().manual_seed(4)
    states = [torch.randn(B, 2, 8, generator=generator).requires_grad_() for _ in range(E)]
    objective = make("global_past_future", weight=0.5)
    total = objective.terms(logits, labels, START, states).total()

    def cosine(m, j, b):
        x, y = states[m][b, 0].tolist(), states[j][b, 0].tolist()
        return sum(u * v for u, v in zip(x, y, strict=True)) / (math.hypot(*x) * math.hypot(*y))

    expected = sum(ce(x, labels).item() for x in logits)
    for m, deeper in ((0, [1, 2]), (1, [2])):
        expected += 0.5 * sum(1 - cosine(m, j, b) for j in deeper for b in range(B)) / (len(deeper) * B)
    assert total.item() == pytest.approx(expected, rel=1e-5)
    first, second, third = gradients(total, states)
    assert first[:, 0].abs().max() > 0
    assert not first[:, 1].any()
    assert second[:, 0].abs().max() > 0
    assert not third.any()


BAD = [
    ("weighted", {"weights": "deep"}, "weights must be one of uniform, depth, got 'deep'"),
    ("two_stage", {"first": 1.0}, "first must be a number above 0 and below 1, got 1.0"),
    ("alternating", {"by": "batch"}, "by must be one of step, epoch"),
    ("self_distillation", {"stages": 3}, "stages must be one of 1, 2, got 3"),
    ("self_distillation", {"temperature": 0}, "temperature must be a number above 0, got 0"),
    ("mutual", {"teachers": "some"}, "teachers must be one of all, later, last"),
    ("mutual", {"temperature": -1.0}, "temperature must be a number above 0"),
    ("mutual", {"temperature": float("nan")}, "temperature must be a number above 0"),
    ("mutual", {"alpha": 1.5}, "alpha must be a number above 0 and below 1, got 1.5"),
    ("mutual", {"detach": 1}, "detach must be true or false, got 1"),
    ("global_past_future", {"weight": -0.1}, "weight must be a number at least 0"),
    ("diversity", {"lambda": 1.0}, "lambda must be a number at least 0 and below 1, got 1.0"),
    ("diversity", {"lambda": "high"}, "lambda must be a number"),
    ("diversity", {"beta_last": 2}, "beta_last must be one of 0, 1, got 2"),
    ("mutual", {"temprature": 2.0}, "has no option 'temprature': did you mean temperature"),
    ("joint", {"alpha": 0.5}, "objective 'joint' has no option 'alpha': it takes none"),
]


@pytest.mark.parametrize(("name", "options", "message"), BAD)
def test_bad_options_are_refused_in_one_line(name, options, message):
    with pytest.raises(UsageError) as caught:
        build(OBJECTIVES, name, options)
    text = str(caught.value)
    assert "\n" not in text
    assert message in text
