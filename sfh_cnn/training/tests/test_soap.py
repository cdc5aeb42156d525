"""SOAP takes Adam's step in the right axes, needs fewer steps where axes are correlated, and resumes exactly."""

import pytest
import torch
from torch.testing import assert_close

from sfh_cnn.training.soap import SOAP


def regression(n=60, n_out=8):
    """Inputs along random axes with scatters from 1 to 0.001, and what they predict."""
    generator = torch.Generator().manual_seed(0)
    axes, _ = torch.linalg.qr(torch.randn(n, n, generator=generator))
    inputs = torch.randn(4096, n, generator=generator) * torch.logspace(0, -3, n) @ axes
    weights = axes.T * torch.logspace(0, 2, n) @ torch.randn(n, n_out, generator=generator) / 5
    return inputs, inputs @ weights


def fit(optimizer_class, learning_rate, n_step=300, stop=None, state=None, **options):
    """Least squares from 0; the loss reached, and the weights with the optimiser's state."""
    inputs, outputs = regression()
    weights = torch.nn.Parameter(torch.zeros(inputs.shape[1], outputs.shape[1]))
    optimizer = optimizer_class([weights], lr=learning_rate, weight_decay=0.0, **options)
    start = 0
    if state is not None:
        start, values, optimizer_state = state
        weights.data.copy_(values)
        optimizer.load_state_dict(optimizer_state)
    for step in range(start, stop or n_step):
        optimizer.param_groups[0]["lr"] = learning_rate * (1 - step / n_step)
        optimizer.zero_grad()
        loss = (inputs @ weights - outputs).square().mean()
        loss.backward()
        optimizer.step()
    return loss.item(), weights.detach(), optimizer.state_dict()


def test_correlated_inputs_need_fewer_steps():
    """The best of four learning rates, as far as Adam's best comes in three times the steps."""
    rates = (1e-3, 1e-2, 3e-2, 1e-1)
    soap = min(fit(SOAP, rate)[0] for rate in rates)
    assert soap < 0.7 * min(fit(torch.optim.Adam, rate)[0] for rate in rates)


def test_vectors_and_long_sides_get_plain_adam():
    """Without a basis the steps are those of `torch.optim.Adam`."""
    torch.manual_seed(0)
    start, gradients = torch.randn(7), torch.randn(20, 7)
    for shape, options in (((7,), {}), ((1, 7), {"max_dim": 6})):
        results = []
        for make in (
            lambda p, options=options: SOAP(p, lr=0.1, betas=(0.9, 0.99), weight_decay=0.0, **options),
            lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.9, 0.99)),
        ):
            parameter = torch.nn.Parameter(start.clone().view(shape))
            optimizer = make([parameter])
            for gradient in gradients:
                parameter.grad = gradient.view(shape).clone()
                optimizer.step()
            results.append(parameter.detach())
        assert_close(results[0], results[1])


def test_steps_do_not_depend_on_the_axes():
    """Turned inputs give turned weights: what Adam is not."""
    torch.manual_seed(1)
    left, right = (torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))[0] for _ in range(2))
    gradients = torch.randn(40, 6, 6, dtype=torch.float64) * torch.logspace(0, -2, 6, dtype=torch.float64)
    steps = []
    for turn in (lambda g: g, lambda g: left @ g @ right):
        parameter = torch.nn.Parameter(torch.zeros(6, 6, dtype=torch.float64))
        optimizer = SOAP([parameter], lr=0.1, weight_decay=0.0, refresh=7)
        for gradient in gradients:
            parameter.grad = turn(gradient)
            optimizer.step()
        steps.append(parameter.detach())
    assert_close(left @ steps[0] @ right, steps[1], rtol=1e-4, atol=1e-6)
    assert steps[0].abs().max() > 0.1


@pytest.mark.parametrize("stop", [5, 11, 150])
def test_a_saved_state_goes_on_exactly(stop):
    """Before the first basis, just after it, and later: bit for bit."""
    straight = fit(SOAP, 1e-2, n_step=160)
    _, weights, state = fit(SOAP, 1e-2, n_step=160, stop=stop)
    resumed = fit(SOAP, 1e-2, n_step=160, state=(stop, weights, state))
    assert torch.equal(straight[1], resumed[1])


def test_kernels_are_matrices_and_decay():
    """A convolution's kernel keeps its shape; weights decay by rate times decay, vectors do not."""
    kernel, bias = torch.nn.Parameter(torch.ones(4, 2, 3)), torch.nn.Parameter(torch.ones(4))
    optimizer = SOAP([kernel, bias], lr=0.1, weight_decay=0.5)
    for _ in range(12):
        kernel.grad, bias.grad = torch.zeros(4, 2, 3), torch.zeros(4)
        optimizer.step()
    assert kernel.shape == (4, 2, 3)
    assert_close(kernel.detach(), torch.full((4, 2, 3), 0.95**2))  # the first ten steps only look
    assert_close(bias.detach(), torch.ones(4))
