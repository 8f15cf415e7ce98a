"""AdamW, its schedule and gradient clipping: the textbook's numbers, in place, and clear about wrong options."""

import copy
import json
import math

import numpy as np
import pytest
from cores import num_threads
from safetensors.numpy import load_file, save_file

from numbert import BertConfig, BertForPreTraining, InputError, Parameter
from numbert.nn import blocks
from numbert.train.optimizer import AdamW, clip_grad_norm, decay_groups
from numbert.train.schedule import warmup_then_linear_decay


def textbook_adamw(p, gradients, lr, betas, eps, weight_decay):
    """Algorithm 2 of Loshchilov & Hutter, one line after the other."""
    m, v = np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(gradients, start=1):
        p = p - lr * weight_decay * p
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        m_hat = m / (1 - betas[0] ** t)
        v_hat = v / (1 - betas[1] ** t)
        p = p - lr * m_hat / (np.sqrt(v_hat) + eps)
    return p


def original_berts_adam(p, gradients, lr, betas, eps, weight_decay):
    """AdamWeightDecayOptimizer of google-research/bert: no correction, and the decay inside the one update."""
    m, v = np.zeros_like(p), np.zeros_like(p)
    for g in gradients:
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        p = p - lr * (m / (np.sqrt(v) + eps) + weight_decay * p)
    return p


ALGORITHMS = [(True, textbook_adamw), (False, original_berts_adam)]


def parameter(rng, *shape, dtype=np.float64):
    return Parameter(rng.standard_normal(shape).astype(dtype))


def run(optimizer, parameters, gradients):
    for step in zip(*gradients, strict=True):
        for p, g in zip(parameters, step, strict=True):
            p.grad = g.copy()
        optimizer.step()


OPTIONS = [
    {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01},
    {"lr": 0.3, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.5},
    {"lr": 0.01, "betas": (0.0, 0.0), "eps": 0.1, "weight_decay": 0.0},
]


@pytest.mark.parametrize(("bias_correction", "algorithm"), ALGORITHMS)
@pytest.mark.parametrize("options", OPTIONS)
def test_sixty_steps_are_the_textbooks_and_without_correction_the_original_berts(
    options, bias_correction, algorithm
):
    rng = np.random.default_rng(0)
    parameters = [parameter(rng, 7, 5), parameter(rng, 3)]
    # Of very different sizes, so that eps, the corrections and the square root all count.
    gradients = [[rng.standard_normal(p.shape) * 10 ** rng.uniform(-6, 2) for _ in range(60)] for p in parameters]
    expected = [algorithm(p.data, g, **options) for p, g in zip(parameters, gradients, strict=True)]
    run(AdamW(parameters, **options, bias_correction=bias_correction), parameters, gradients)
    for p, e in zip(parameters, expected, strict=True):
        np.testing.assert_allclose(p.data, e, rtol=1e-12, atol=1e-12)


def test_the_first_step_is_lr_long_with_the_correction_and_3_2_times_that_without():
    for bias_correction, length in ((True, 0.1), (False, 0.1 * (1 - 0.9) / math.sqrt(1 - 0.999))):
        p = Parameter(np.array([1.0]))
        p.grad = np.array([-7.0])
        AdamW([p], lr=0.1, eps=0.0, weight_decay=0.0, bias_correction=bias_correction).step()
        assert p.data[0] - 1 == pytest.approx(length)


def test_a_changed_learning_rate_holds_from_the_next_step():
    p = Parameter(np.array([1.0]))
    optimizer = AdamW([p], lr=0.1, eps=0.0, weight_decay=0.0)
    moved = []
    for lr in (0.1, 0.0, 0.2):
        optimizer.groups[0]["lr"] = lr
        before = p.data.copy()
        p.grad = np.array([3.0])
        optimizer.step()
        moved.append(float((before - p.data)[0]))
    assert moved == pytest.approx([0.1, 0.0, 0.2])  # with a constant gradient every step is lr long


def test_float32_stays_float32_and_near_float64():
    rng = np.random.default_rng(1)
    double = parameter(rng, 40, 30)
    single = Parameter(double.data.astype(np.float32))
    gradients = [rng.standard_normal((40, 30)) for _ in range(50)]
    run(AdamW([double]), [double], [gradients])
    optimizer = AdamW([single])
    run(optimizer, [single], [[g.astype(np.float32) for g in gradients]])
    moments = optimizer.moments[single]
    assert {single.dtype, moments.m.dtype, moments.v.dtype} == {np.dtype(np.float32)}
    # Each step rounds the parameter twice: once for the decay and once for the update.
    bound = 50 * np.finfo(np.float32).eps * np.abs(double.data).max()
    np.testing.assert_allclose(single.data, double.data, rtol=0, atol=bound)


@pytest.mark.parametrize("size", [1, 7, 64, 65, 1000])
def test_blocks_and_threads_change_no_bit(size, monkeypatch):
    rng = np.random.default_rng(size)
    start = rng.standard_normal(size).astype(np.float32)
    gradients = [rng.standard_normal(size).astype(np.float32) for _ in range(3)]

    def updated():
        p = Parameter(start.copy())
        run(AdamW([p]), [p], [gradients])
        p.grad = gradients[0].copy()
        return p.data, clip_grad_norm([p], 1e9)

    whole, norm = updated()
    monkeypatch.setattr(blocks, "BLOCK", 16)
    monkeypatch.setattr(blocks, "SHARE", 40)
    with num_threads(2):
        in_blocks, norm_in_blocks = updated()
    np.testing.assert_array_equal(in_blocks, whole)
    assert norm_in_blocks == pytest.approx(norm, rel=1e-14)


# --- which parameters, and where they are ----------------------------------------------------------------------


def test_the_update_is_in_the_parameters_own_array():
    p = Parameter(np.ones((3, 4), np.float32))
    array = p.data
    p.grad = np.ones((3, 4), np.float32)
    AdamW([p]).step()
    assert p.data is array
    assert (array < 1).all()


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "layout",
    [
        read_only,
        np.asfortranarray,
        lambda array: np.repeat(array, 2, axis=1)[:, ::2],
        lambda array: array[::-1].copy()[::-1],
    ],
    ids=["read-only", "column by column", "every other column", "backwards"],
)
def test_every_layout_of_data_and_gradient_is_updated_alike(layout):
    rng = np.random.default_rng(2)
    data, gradients = rng.standard_normal((4, 6)), [rng.standard_normal((4, 6)) for _ in range(3)]
    plain, other = Parameter(data.copy()), Parameter(layout(data))
    given = other.data
    run(AdamW([plain]), [plain], [gradients])
    optimizer = AdamW([other])
    for gradient in gradients:
        other.grad = layout(gradient)
        optimizer.step()
    np.testing.assert_array_equal(other.data, plain.data)
    np.testing.assert_array_equal(given, data)  # what could not be written was left alone


def test_a_parameter_without_gradient_waits_and_then_starts_at_its_first_step():
    rng = np.random.default_rng(3)
    late, always = parameter(rng, 4), parameter(rng, 4)
    start, gradient = late.data.copy(), rng.standard_normal(4)
    optimizer = AdamW([late, always], lr=0.1)
    for _ in range(5):
        always.grad = rng.standard_normal(4)
        optimizer.step()
    np.testing.assert_array_equal(late.data, start)
    late.grad = gradient
    optimizer.step()
    np.testing.assert_allclose(late.data, textbook_adamw(start, [gradient], 0.1, (0.9, 0.999), 1e-8, 0.01))


def test_a_tied_parameter_is_updated_once():
    rng = np.random.default_rng(4)
    p = parameter(rng, 5)
    start, gradient = p.data.copy(), rng.standard_normal(5)
    p.grad = gradient
    AdamW([p, p], lr=0.1).step()
    np.testing.assert_allclose(p.data, textbook_adamw(start, [gradient], 0.1, (0.9, 0.999), 1e-8, 0.01))


def test_each_group_has_its_own_options():
    rng = np.random.default_rng(5)
    parameters = [parameter(rng, 6) for _ in range(4)]
    starts = [p.data.copy() for p in parameters]
    gradients = [[rng.standard_normal(6) for _ in range(4)] for _ in parameters]
    groups = [
        {"params": parameters[:1], "weight_decay": 0.0},
        {"params": iter(parameters[1:2]), "lr": 0.5},
        {"params": parameters[2:3], "betas": (0.1, 0.2), "eps": 1e-2},
        {"params": parameters[3:], "bias_correction": False},
    ]
    run(AdamW(groups, lr=0.1, weight_decay=0.3), parameters, gradients)
    base = {"lr": 0.1, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.3}
    for p, start, g, group in zip(parameters, starts, gradients, groups, strict=True):
        options = base | {key: value for key, value in group.items() if key != "params"}
        algorithm = dict(ALGORITHMS)[options.pop("bias_correction", True)]
        np.testing.assert_allclose(p.data, algorithm(start, g, **options), rtol=1e-12)


def test_decay_groups_spare_biases_and_layernorm():
    model = BertForPreTraining(
        BertConfig(vocab_size=9, hidden_size=4, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    )
    decayed, spared = decay_groups(model, 0.01)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.01, 0.0)
    assert {names[id(p)] for p in spared["params"]} == {
        name for name in names.values() if name.endswith("bias") or "LayerNorm" in name
    }
    assert len(decayed["params"]) + len(spared["params"]) == len(names)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1e-3}, "lr is -0.001; it must be at least 0"),
        ({"lr": math.nan}, "lr is nan"),
        ({"eps": -1.0}, "eps is -1.0"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1"),
        ({"betas": (0.9, 1.0)}, r"betas are \(0.9, 1.0\)"),
        ({"betas": (-0.1, 0.9)}, r"betas are \(-0.1, 0.9\)"),
    ],
)
def test_options_outside_their_limits_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        AdamW([Parameter(np.ones(2))], **options)


def test_parameters_that_cannot_be_updated_are_refused():
    p = Parameter(np.ones(2))
    with pytest.raises(InputError, match="no parameter"):
        AdamW([])
    with pytest.raises(InputError, match="two of AdamW's groups"):
        AdamW([{"params": [p]}, {"params": [p]}])
    with pytest.raises(InputError, match="got a ndarray"):
        AdamW([p.data])
    with pytest.raises(InputError, match="a group has momentum"):
        AdamW([{"params": [p], "momentum": 0.9}])
    with pytest.raises(InputError, match="a group has no params"):
        AdamW([{"weight_decay": 0.9}])
    with pytest.raises(InputError, match="complex128"):
        AdamW([Parameter(np.ones(2, np.complex128))])


def test_a_gradient_of_another_shape_is_refused():
    p = Parameter(np.ones((2, 3)))
    p.grad = np.ones((3, 2))
    with pytest.raises(ValueError, match=r"shape \(3, 2\) for a parameter of shape \(2, 3\)"):
        AdamW([p]).step()


# --- the schedule ------------------------------------------------------------------------------------------------


def test_the_learning_rate_rises_to_its_peak_and_falls_in_a_line_to_0():
    rates = [warmup_then_linear_decay(step, 12, 4) for step in range(13)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0])


@pytest.mark.parametrize(("steps", "warmup"), [(1, 1), (1, 0), (5, 0), (5, 5), (1000, 100)])
def test_every_step_has_a_positive_rate_of_at_most_1(steps, warmup):
    rates = [warmup_then_linear_decay(step, steps, warmup) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates)


# --- clipping ----------------------------------------------------------------------------------------------------


def with_gradients(rng, *shapes, dtype=np.float32):
    parameters = [Parameter(np.zeros(shape, dtype)) for shape in shapes]
    for p in parameters:
        p.grad = rng.standard_normal(p.shape).astype(dtype)
    return parameters


def test_a_long_gradient_is_scaled_to_max_norm_in_one_direction():
    parameters = with_gradients(np.random.default_rng(6), (30, 20), (7,), (2, 3, 4))
    before = [p.grad.copy() for p in parameters]
    norm = clip_grad_norm(parameters, 1.5)
    assert norm == pytest.approx(math.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in before)), rel=1e-14)
    for p, g in zip(parameters, before, strict=True):
        assert p.grad.dtype == np.float32
        np.testing.assert_allclose(p.grad, g * (1.5 / norm), rtol=1e-6)
    assert clip_grad_norm(parameters, 1.5) == pytest.approx(1.5, rel=1e-6)


def test_a_short_gradient_stays_as_it_is():
    parameters = with_gradients(np.random.default_rng(7), (5, 5))
    before = parameters[0].grad.copy()
    clip_grad_norm(parameters, 1e3)
    np.testing.assert_array_equal(parameters[0].grad, before)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_stays_and_the_norm_says_so(bad):
    parameters = with_gradients(np.random.default_rng(8), (3,), (4,))
    parameters[1].grad[2] = bad
    before = [p.grad.copy() for p in parameters]
    assert not math.isfinite(clip_grad_norm(parameters, 1.0))
    for p, g in zip(parameters, before, strict=True):
        np.testing.assert_array_equal(p.grad, g)


def test_the_norm_is_exact_where_float32_squares_overflow_or_vanish():
    for scale in (1e30, 1e-30):
        p = Parameter(np.zeros(4, np.float32))
        p.grad = np.full(4, scale, np.float32)
        assert clip_grad_norm([p], 1e38) == pytest.approx(2 * scale, rel=1e-6)


def test_tied_and_missing_gradients_count_once_and_not_at_all():
    p, none = Parameter(np.zeros(2)), Parameter(np.zeros(2))
    p.grad = np.array([3.0, 4.0])
    assert clip_grad_norm([p, p, none], 2.5) == 5.0
    np.testing.assert_allclose(p.grad, [1.5, 2.0])
    assert clip_grad_norm([none], 1.0) == 0.0


@pytest.mark.parametrize("max_norm", [0.0, -1.0, math.nan])
def test_a_max_norm_that_is_not_positive_is_refused(max_norm):
    with pytest.raises(InputError, match="max_norm is"):
        clip_grad_norm([], max_norm)


# --- numbers that are none ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["0.1", None, True, np.True_, [0.1], np.array([0.1]), 0.1j, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["lr", "eps", "weight_decay"])
def test_an_option_that_is_no_number_is_one_line(name, value):
    p = Parameter(np.ones(2))
    for make in (lambda: AdamW([p], **{name: value}), lambda: AdamW([{"params": [p], name: value}])):
        with pytest.raises(InputError, match=rf"^{name} is ") as caught:
            make()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("betas", [0.9, (0.9,), (0.9, 0.9, 0.9), "09", (0.9, "0.99"), (True, 0.9), None])
def test_betas_that_are_not_two_numbers_are_one_line(betas):
    with pytest.raises(InputError, match="beta"):
        AdamW([Parameter(np.ones(2))], betas=betas)


@pytest.mark.parametrize("value", [0, 1, None, "no"])
def test_bias_correction_is_true_or_false(value):
    with pytest.raises(InputError, match=r"bias_correction is .*; it must be True or False"):
        AdamW([Parameter(np.ones(2))], bias_correction=value)


@pytest.mark.parametrize("value", ["1", None, True, [1.0], 1j])
def test_a_max_norm_that_is_no_number_is_one_line(value):
    with pytest.raises(InputError, match=r"max_norm is .*; it must be a number"):
        clip_grad_norm([], value)


def test_numpys_numbers_are_numbers():
    p, q = Parameter(np.ones(2, np.float32)), Parameter(np.ones(2, np.float32))
    numbers = {"lr": 0.5, "betas": (0.5, 0.25), "eps": 0.25, "weight_decay": 0.5, "bias_correction": False}
    numpys = {
        **{name: np.float32(numbers[name]) for name in ("lr", "eps", "weight_decay")},
        "betas": [np.float64(0.5), np.float32(0.25)],
        "bias_correction": np.False_,
    }
    plain, other = AdamW([p], **numbers), AdamW([q], **numpys)
    for optimizer in (plain, other):
        run(optimizer, optimizer.groups[0]["params"], [[np.array([1.0, -2.0], np.float32)]])
    np.testing.assert_array_equal(p.data, q.data)
    assert {name: value for name, value in other.groups[0].items() if name != "params"} == numbers
    assert clip_grad_norm([p], np.float32(1.0)) == clip_grad_norm([q], np.int64(1))
    assert clip_grad_norm([p], math.inf) == pytest.approx(1.0)  # for the norm alone


# --- parameters that are not trainable ---------------------------------------------------------------------------


def test_a_parameter_that_is_not_trainable_stays_even_with_a_gradient():
    """It may have been frozen after a backward."""
    frozen, other = Parameter(np.ones(3)), Parameter(np.ones(3))
    frozen.grad, other.grad = np.full(3, 1e3), np.array([3.0, 0.0, 4.0])
    frozen.trainable = False
    optimizer = AdamW([frozen, other])
    assert clip_grad_norm([frozen, other], 2.5) == 5.0
    optimizer.step()
    np.testing.assert_array_equal(frozen.data, np.ones(3))
    np.testing.assert_array_equal(frozen.grad, np.full(3, 1e3))
    assert set(optimizer.moments) == {other}
    frozen.trainable = True
    optimizer.step()
    assert (frozen.data < 1).all()


# --- its state ---------------------------------------------------------------------------------------------------


def trained(steps, seed=0):
    """Parameters in two groups, one of which has no gradient at first, and their optimizer after some steps."""
    rng = np.random.default_rng(seed)
    parameters = [parameter(rng, 4, 3, dtype=np.float32), parameter(rng, 5), parameter(rng, 2)]
    optimizer = AdamW([{"params": parameters[:2], "lr": 0.1}, {"params": parameters[2:]}], betas=(0.8, 0.9))
    go_on(optimizer, parameters, 0, steps)
    return optimizer, parameters


def go_on(optimizer, parameters, start, stop):
    for step in range(start, stop):
        rng = np.random.default_rng([1, step])
        for index, p in enumerate(parameters):
            gradient = rng.standard_normal(p.shape).astype(p.dtype)
            p.grad = None if index == 1 and step < 3 else gradient
        optimizer.groups[0]["lr"] = 0.1 / (1 + step)
        optimizer.step()


def stored(state, folder):
    """As a reader of one's own would write it: arrays into one file and numbers into another, and back."""
    arrays = {f"{kind}.{i}": state["moments"][i][kind] for i in state["moments"] for kind in "mv"}
    save_file(arrays, folder / "moments.safetensors")
    steps = {i: moments["step"] for i, moments in state["moments"].items()}
    (folder / "rest.json").write_text(json.dumps({"groups": state["groups"], "steps": steps}))
    arrays, rest = load_file(folder / "moments.safetensors"), json.loads((folder / "rest.json").read_text())
    moments = {
        int(i): {"step": step, "m": arrays[f"m.{i}"], "v": arrays[f"v.{i}"]} for i, step in rest["steps"].items()
    }
    return {"groups": rest["groups"], "moments": moments}


@pytest.mark.parametrize("steps", [0, 2, 6])
def test_a_loop_of_ones_own_goes_on_to_the_same_bits(steps, tmp_path):
    """After 2 steps one parameter has had no gradient yet, and after 6 it has had fewer than the others."""
    optimizer, parameters = trained(steps)
    state = stored(optimizer.state_dict(), tmp_path)
    again = [Parameter(p.data.copy()) for p in parameters]
    resumed = AdamW([{"params": again[:2]}, {"params": again[2:]}])
    resumed.load_state_dict(state)
    go_on(optimizer, parameters, steps, 10)
    go_on(resumed, again, steps, 10)
    for p, q in zip(parameters, again, strict=True):
        np.testing.assert_array_equal(p.data, q.data)
        for kind in "mv":
            np.testing.assert_array_equal(
                getattr(optimizer.moments[p], kind), getattr(resumed.moments[q], kind), strict=True
            )


def test_a_state_that_was_loaded_can_be_loaded_again():
    """The optimizer's arrays are copies of it."""
    optimizer, parameters = trained(5)
    state = copy.deepcopy(optimizer.state_dict())
    start = [p.data.copy() for p in parameters]
    outcomes = []
    for _ in range(2):
        for p, data in zip(parameters, start, strict=True):
            p.data = data.copy()
        optimizer.load_state_dict(state)
        go_on(optimizer, parameters, 5, 8)
        outcomes.append([p.data.copy() for p in parameters])
    for one, other in zip(*outcomes, strict=True):
        np.testing.assert_array_equal(one, other)


def changed(state, *way, to):
    """A copy of the state with another value at the end of the way."""
    state = copy.deepcopy(state)
    inner = state
    for key in way[:-1]:
        inner = inner[key]
    inner[way[-1]] = to
    return state


@pytest.mark.parametrize(
    ("way", "to", "message"),
    [
        (("groups",), [], r"groups of \[\] parameters, this AdamW has groups of \[2, 1\]"),
        (("groups", 0, "params"), [0], r"groups of \[1, 1\] parameters"),
        (("groups",), None, "no state of AdamW"),
        (("groups", 1), 3, "no state of AdamW"),
        (("groups", 1), {"params": [2]}, "no state of AdamW: KeyError"),
        (("groups", 1, "lr"), -1.0, "lr is -1.0; it must be at least 0"),
        (("groups", 1, "lr"), "fast", "lr is 'fast'; it must be a number"),
        (("groups", 1, "betas"), 0.9, "betas are 0.9; they must be two numbers"),
        (("moments",), [1, 2], "no state of AdamW"),
        (("moments", 7), {}, "moments of parameter 7, of 0 to 2"),
        (("moments", "0"), {}, "moments of parameter 0, of 0 to 2"),
        (("moments", 0), {"step": 3}, "no state of AdamW: TypeError"),
        (("moments", 0, "step"), 1.5, "the step of parameter 0 is 1.5; it must be an integer"),
        (("moments", 0, "step"), -1, "the step of parameter 0 is -1; it must be at least 0"),
        (
            ("moments", 0, "m"),
            np.ones((3, 4)),
            r"m of parameter 0 is float64 \[3, 4\]; it must be real .* \[4, 3\]",
        ),
        (("moments", 0, "v"), np.ones((4, 3), complex), "v of parameter 0 is complex128"),
        (("moments", 0, "v"), None, "v of parameter 0 is None"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(way, to, message):
    optimizer, _ = trained(5)
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(InputError, match=message) as caught:
        optimizer.load_state_dict(changed(before, *way, to=to))
    assert "\n" not in str(caught.value)
    assert optimizer.state_dict()["groups"] == before["groups"]
    for number, moments in optimizer.state_dict()["moments"].items():
        for kind in ("step", "m", "v"):
            np.testing.assert_array_equal(moments[kind], before["moments"][number][kind])


@pytest.mark.parametrize("state", [None, {}, [], "state", {"state": {}, "param_groups": []}])
def test_what_is_no_state_is_one_line(state):
    with pytest.raises(InputError, match="no state of AdamW"):
        AdamW([Parameter(np.ones(2))]).load_state_dict(state)
