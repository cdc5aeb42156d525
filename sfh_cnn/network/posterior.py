"""JointPosterior: an autoregressive mixture density over all 16 fractions, 16 [M/H], A_V and M/L.

The mean ages and metallicities come first: they are what the data say best, and bins that are drawn
given the means keep to them. The fractions are written as a stick that is broken from the youngest
bin on, so that every draw sums to 1 and an empty bin is a place in the distribution and not a
singularity. Each variable in turn has a mixture of Gaussians whose parameters depend on the latent
vector and on the variables before it: the chain rule makes that a full joint density (Germain et al.
2015, MADE, arXiv:1502.03509; Papamakarios et al. 2017, arXiv:1705.07057).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["JointPosterior", "from_variables", "n_variable", "to_variables"]

#: Logits of stick pieces are cut here: 6e-6 of the mass that is left, either way.
_LOGIT_LIMIT = 12.0
#: Variables are scaled to order 1.
_LOGIT_SCALE = 4.0
#: Variables whose inputs from all earlier ones are computed together in `JointPosterior.sample`.
_SAMPLE_BLOCK = 6
#: Width that a cut logit (an empty bin) gets in training, so that its density stays finite.
_JITTER = 0.5


def n_variable(n_age: int, n_lead: int = 0) -> int:
    """Number of variables of the joint posterior: leads, A_V, broken sticks, [M/H] of each bin, log M/L."""
    return n_lead + 2 * n_age + 1


def to_variables(
    mass_fraction: Tensor, metallicity: Tensor, a_v: Tensor, log_mass_to_light: Tensor, leads: Tensor | None = None
) -> Tensor:
    """Histories as unbounded variables of order 1.

    Parameters
    ----------
    mass_fraction, metallicity : Tensor, shape (n, n_age)
        Fractions and [M/H] (dex).
    a_v, log_mass_to_light : Tensor, shape (n,)
        mag, and log10 of M_sun formed per attenuated L_sun,V.
    leads : Tensor, shape (n, n_lead), optional
        Quantities that follow from the others (means), of order 1; they come first.

    Returns
    -------
    Tensor, shape (n, n_lead + 2 n_age + 1)
    """
    rest = mass_fraction.flip(1).cumsum(1).flip(1)  # mass in this bin and all older ones, (n, n_age)
    tiny = math.exp(-_LOGIT_LIMIT)
    piece = (mass_fraction[:, :-1] / rest[:, :-1].clamp(min=1e-12)).clamp(tiny, 1 - tiny)
    logit = torch.logit(piece).clamp(-_LOGIT_LIMIT, _LOGIT_LIMIT) / _LOGIT_SCALE
    variables = [a_v[:, None], logit, metallicity / 0.5, log_mass_to_light[:, None]]
    return torch.cat(variables if leads is None else [leads, *variables], 1)


def from_variables(variables: Tensor, n_age: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The way back: mass fractions, [M/H], A_V and log M/L; A_V is not below 0.

    Parameters
    ----------
    variables : Tensor, shape (n, n_lead + 2 n_age + 1)
        The leads are not needed.
    n_age : int

    Returns
    -------
    mass_fraction, metallicity : Tensor, shape (n, n_age)
    a_v, log_mass_to_light : Tensor, shape (n,)
    """
    variables = variables[:, -n_variable(n_age) :]
    logit = variables[:, 1:n_age] * _LOGIT_SCALE
    # Beyond the cut there is nothing to resolve: an empty bin is empty.
    piece = torch.sigmoid(logit)
    piece = torch.where(logit < -_LOGIT_LIMIT + 1, 0.0, piece)
    piece = torch.where(logit > _LOGIT_LIMIT - 1, 1.0, piece)
    left = torch.cat([torch.ones_like(piece[:, :1]), (1 - piece).cumprod(1)], 1)  # (n, n_age)
    mass_fraction = torch.cat([piece, torch.ones_like(piece[:, :1])], 1) * left
    metallicity = variables[:, n_age:-1] * 0.5
    return mass_fraction, metallicity, variables[:, 0].clamp(min=0.0), variables[:, -1]


class JointPosterior(nn.Module):
    """Density of the variables given a latent vector.

    Parameters
    ----------
    n_latent : int
        Length of the latent vector.
    n_age : int
        Age bins.
    n_context : int
        Width of the compressed latent vector.
    n_hidden : int
        Hidden units per variable.
    n_mixture : int
        Gaussians per conditional.
    n_lead : int
        Variables that come before those of the history.
    """

    mask_1: Tensor
    mask_2: Tensor
    mask_3: Tensor

    def __init__(
        self,
        n_latent: int,
        n_age: int,
        n_context: int = 128,
        n_hidden: int = 16,
        n_mixture: int = 8,
        n_lead: int = 0,
    ):
        super().__init__()
        self.n_age = n_age
        self.n_variable = n_variable(n_age, n_lead)
        self.n_lead = n_lead
        self.n_hidden = n_hidden
        self.n_mixture = n_mixture
        width = self.n_variable * n_hidden
        self.context = nn.Linear(n_latent, n_context)
        self.first = nn.Linear(self.n_variable + n_context, width)
        self.second = nn.Linear(width + n_context, width)
        self.last = nn.Linear(width + n_context, self.n_variable * 3 * n_mixture)
        masks = self._masks(n_context)
        for i, mask in enumerate(masks):
            self.register_buffer(f"mask_{i + 1}", mask, persistent=False)

    def _masks(self, n_context: int) -> list[Tensor]:
        """Which inputs each layer's outputs may see: hidden units belong to a variable and see those before it."""
        layers = (self.first, self.second, self.last)
        if self.first.weight.is_meta:  # only shapes are asked for; arithmetic would import torch's compiler
            return [torch.empty(layer.weight.shape) for layer in layers]
        variables = torch.arange(self.n_variable)
        of_unit = variables.repeat_interleave(self.n_hidden)
        of_output = variables.repeat_interleave(3 * self.n_mixture)
        everyone = torch.full((n_context,), -1)
        return [
            (torch.cat([variables, everyone]) < of_unit[:, None]).float(),
            (torch.cat([of_unit, everyone]) <= of_unit[:, None]).float(),
            (torch.cat([of_unit, everyone]) <= of_output[:, None]).float(),
        ]

    def _parameters_of(self, raw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log weights, means and log widths (..., n_mixture) of the mixtures."""
        weight, mean, width = raw.split(self.n_mixture, -1)
        return weight.log_softmax(-1), mean + self._spread(raw), self._log_width(width)

    def _spread(self, raw: Tensor) -> Tensor:
        """Where the Gaussians of a mixture lie if the network says nothing, (n_mixture,)."""
        return torch.linspace(-1.5, 1.5, self.n_mixture, device=raw.device)

    @staticmethod
    def _log_width(width: Tensor) -> Tensor:
        return (width - 1.0).clamp(-5.0, 2.0)

    def log_prob(self, variables: Tensor, latent: Tensor) -> Tensor:
        """Log density of each row.

        Parameters
        ----------
        variables : Tensor, shape (n, n_variable)
        latent : Tensor, shape (n, n_latent)

        Returns
        -------
        Tensor, shape (n,)
        """
        context = functional.silu(self.context(latent))
        hidden = torch.cat([variables, context], 1)
        hidden = functional.silu(functional.linear(hidden, self.first.weight * self.mask_1, self.first.bias))
        hidden = torch.cat([hidden, context], 1)
        hidden = functional.silu(functional.linear(hidden, self.second.weight * self.mask_2, self.second.bias))
        hidden = torch.cat([hidden, context], 1)
        raw = functional.linear(hidden, self.last.weight * self.mask_3, self.last.bias)
        weight, mean, width = self._parameters_of(raw.view(len(raw), self.n_variable, -1))
        deviation = (variables[..., None] - mean) * torch.exp(-width)
        density = weight - 0.5 * deviation**2 - width - 0.5 * math.log(2 * math.pi)
        return density.logsumexp(-1).sum(-1)

    def jitter(self, variables: Tensor, noise: Tensor) -> Tensor:
        """Spread the logits of empty and full pieces beyond the cut, so that they have a finite density.

        Parameters
        ----------
        variables : Tensor, shape (n, n_variable)
        noise : Tensor, shape (n, n_age - 1)
            Standard normal numbers.

        Returns
        -------
        Tensor, shape (n, n_variable)
        """
        first, last = self.n_lead + 1, self.n_lead + self.n_age
        logit = variables[:, first:last]
        limit = _LOGIT_LIMIT / _LOGIT_SCALE
        noise = noise.abs() * (_JITTER / _LOGIT_SCALE)
        logit = torch.where(logit <= -limit + 1e-4, logit - noise, logit)
        logit = torch.where(logit >= limit - 1e-4, logit + noise, logit)
        return torch.cat([variables[:, :first], logit, variables[:, last:]], 1)

    @torch.no_grad()
    def sample(self, latent: Tensor, n_draw: int, generator: torch.Generator, common: bool = False) -> Tensor:
        """Draws from the joint posterior.

        Each variable needs only its own hidden units, so all of them together cost one pass.

        Parameters
        ----------
        latent : Tensor, shape (n, n_latent)
        n_draw : int
            Draws per row.
        generator : torch.Generator
            Source of randomness.
        common : bool, optional
            All rows share the random numbers: the draws of a row then do not depend on its neighbours, but ranks
            of different rows are correlated.

        Returns
        -------
        Tensor, shape (n, n_draw, n_variable)
        """
        n, n_hidden = len(latent), self.n_hidden
        n_source = 1 if common else n
        uniform = torch.rand(self.n_variable, n_source, n_draw, 1, device=latent.device, generator=generator)[..., 0]
        normal = torch.randn(self.n_variable, n_source, n_draw, 1, device=latent.device, generator=generator)[..., 0]
        context = functional.silu(self.context(latent))
        layers = (self.first, self.second, self.last)
        # What the context adds is the same for all draws of a row, (width, n, 1).
        from_context = [
            functional.linear(context, layer.weight[:, -context.shape[1] :], layer.bias).T[..., None]
            for layer in layers
        ]
        # Variables and units run down the columns: each is a vector over all draws of all rows.
        variables = context.new_empty(self.n_variable, n, n_draw)
        first = context.new_empty(self.n_variable * n_hidden, n, n_draw)
        second = torch.empty_like(first)
        inputs = [values.view(len(values), -1) for values in (variables, first, second)]
        sizes = [(1, n_hidden), (n_hidden, n_hidden), (n_hidden, 3 * self.n_mixture)]  # in and out, per variable

        def add(layer, out, first_variable, rows, columns):
            """What some variables, or their units, add to the outputs of others, in place."""
            n_in, n_out = sizes[layer]
            seen = slice(columns.start * n_in, columns.stop * n_in)
            weight = layers[layer].weight[rows.start * n_out : rows.stop * n_out, seen]
            part = out[(rows.start - first_variable) * n_out : (rows.stop - first_variable) * n_out]
            return part.view(len(part), -1).addmm_(weight, inputs[layer][seen]).view(part.shape)

        for start in range(0, self.n_variable, _SAMPLE_BLOCK):
            block = slice(start, min(start + _SAMPLE_BLOCK, self.n_variable))
            # What the variables before the block add, for the whole block at once: large products are efficient.
            raw = []
            for layer, (_, n_out) in enumerate(sizes):
                out = from_context[layer][block.start * n_out : block.stop * n_out].expand(-1, n, n_draw).contiguous()
                if start:
                    add(layer, out, start, block, slice(0, start))
                raw.append(out)
            for i in range(block.start, block.stop):
                one, own = slice(i, i + 1), slice(i * n_hidden, (i + 1) * n_hidden)
                first[own] = functional.silu(add(0, raw[0], start, one, slice(start, i)))
                second[own] = functional.silu(add(1, raw[1], start, one, slice(start, i + 1)))
                variables[i] = self._draw(add(2, raw[2], start, one, slice(start, i + 1)), uniform[i], normal[i])
        return variables.permute(1, 2, 0).contiguous()

    def _draw(self, raw: Tensor, uniform: Tensor, normal: Tensor) -> Tensor:
        """One variable (n, n_draw) from the parameters of its mixtures (3 n_mixture, n, n_draw)."""
        weight, mean, width = raw.split(self.n_mixture)
        chosen = (weight.softmax(0).cumsum(0) < uniform).sum(0, keepdim=True).clamp_(max=self.n_mixture - 1)
        mean, width = mean.gather(0, chosen)[0] + self._spread(raw)[chosen[0]], width.gather(0, chosen)[0]
        return torch.addcmul(mean, self._log_width(width).exp_(), normal)
