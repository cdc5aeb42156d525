"""Refinement: the exact posterior of the training's prior, where the stellar libraries are at hand."""

import functools

import numpy as np

from sfh_cnn.core import Flag, SFHCNNError, build_config, progress
from sfh_cnn.core.constants import SCALAR_NAMES, V_WINDOW_AA
from sfh_cnn.core.history import mean_log_age, mean_metallicity
from sfh_cnn.results import SFHResult, summarise_draws
from sfh_cnn.ssp import SSPLibrary
from sfh_cnn.synthesis import MockGenerator, SynthesisConfig, bin_history, draw_dust

from .dust_terms import DustTerms
from .likelihood import HistoryLikelihood, stellar_states
from .observed import ObservedSpectrum
from .replay import N_FREE, ReplayedPrior
from .temper import Population, effective_sample_size, temper

__all__ = ["Refiner", "disagree"]

#: Independent populations, the draws of the prior that each begins with, its chains of each temperature, their sweeps.
_N_ISLAND, _N_START, _N_CHAIN, _N_SWEEP = 6, 40_000, 48, 100
#: Draws kept of each spectrum.
N_DRAW = 1000
#: Below this the network's own answer is kept, as it is where no history reaches this chi2 per pixel.
_MIN_SAMPLE_SIZE, _MAX_CHI2 = 20, 1.2
#: Medians further apart than this times the network's 95 per cent interval, from the middle to its end, disagree.
_FAR = 1.5
#: Velocity dispersions, over twice the network's 95 per cent interval.
_N_DISPERSION = 10
#: Least distance of the outermost ones from the network's median, km/s.
_LEAST_REACH_KMS = 20.0
#: Share of the draws at an end from which on other dispersions are tried, and how many ranges of them in all.
_CROWDED, _N_RANGE = 0.15, 4
#: Light of young stars, relative to that of old ones, that no dust makes a difference to.
_DARK = 1e-5
#: Histories made at a time, and those that span the space of spectra.
_BLOCK, _N_SAMPLE = 4096, 400


#: Quantities by which the answers are compared.
_COMPARED = (*SCALAR_NAMES[:4], "a_v")


class Refiner:
    """Samples the exact posterior of spectra that a network has predicted.

    Prior and forward model are those of the network's training: its configuration and its stellar libraries.

    Parameters
    ----------
    contract : `~sfh_cnn.core.ModelContract`
        Of the network.
    libraries : dict, optional
        Where stellar libraries lie, by name, or the libraries themselves.

    Raises
    ------
    SFHCNNError
        If a library is not found or not the one that the network was trained with.
    """

    def __init__(self, contract, libraries=None):
        settings = {key: value for key, value in contract.synthesis.items() if key != "sha256"}
        config = build_config(settings, SynthesisConfig, where="synthesis in the model card")
        self.contract = contract
        self.generator = MockGenerator(config, _libraries(contract, config.libraries, libraries or {}))
        grid = self.generator.grid
        self.prior = ReplayedPrior(config, grid.edges_yr, grid.n_library, contract.metallicity_range_dex)
        self.terms = DustTerms(self.generator)
        rng = np.random.default_rng(0)
        self.sample = self.prior(rng.random((_N_SAMPLE, self.prior.n_number))), draw_dust(rng, _N_SAMPLE, config.dust)

    @functools.cached_property
    def _start_states(self):
        """Stellar states of draws of the prior, with which all spectra begin."""
        blocks = [self._states(block) for block in self._start_blocks()]
        return tuple(np.concatenate(parts) for parts in zip(*blocks, strict=True))

    def _start_blocks(self):
        """The numbers of these draws: quicker drawn again than kept."""
        rng = np.random.default_rng(1)
        for start in range(0, _N_ISLAND * _N_START, _BLOCK):
            n = min(_BLOCK, _N_ISLAND * _N_START - start)
            yield rng.random((n, self.prior.n_number), dtype=np.float32)

    def _states(self, numbers):
        """What the likelihood takes, from numbers of the prior."""
        young, old = stellar_states(self.generator.grid, self.prior(numbers))
        # Birth clouds around next to no stars change nothing, and cost time.
        shining = np.abs(young).sum(axis=1) > _DARK * np.abs(old).sum(axis=1)
        *of_cloud, of_dispersion = numbers[:, -N_FREE:].T
        cloud = np.where(shining, self.terms.cloud(*of_cloud), 0)
        return young, old, cloud, np.minimum((of_dispersion * _N_DISPERSION).astype(int), _N_DISPERSION - 1)

    def refine(self, result, seed=0, progress_bar=None):
        """Replace the network's posterior by the exact one, spectrum by spectrum.

        Parameters
        ----------
        result : `~sfh_cnn.results.SFHResult`
            With what was fitted and with its engine.
        seed : int, optional
        progress_bar : bool, optional

        Returns
        -------
        SFHResult
            With ``effective_sample_size`` and stored draws. Where that size is below 20 the network's answer stays
            and the flag LOW_SAMPLE_SIZE is set; where no history describes the spectrum it stays, too, with
            POOR_RECONSTRUCTION. NETWORK_OFF is set where the two answers do not agree.
        """
        many = result.as_many()
        arrays = {key: np.array(value) for key, value in many.arrays.items()}
        drawn = many.engine.draw(arrays["latent"], N_DRAW, seed)
        drawn = {f"draw_{key}": np.array(value, dtype=np.float32) for key, value in drawn.items()}
        size = np.full(many.n_spec, np.nan)
        rows = np.flatnonzero(np.isfinite(arrays["mass_fraction"]).all(axis=1))
        with progress(len(rows), "refining", enabled=progress_bar) as advance:
            for row in rows:
                draws, size[row], chi2 = self._sample(many, row, np.random.default_rng([seed, 0]))
                advance(1)
                if chi2 > _MAX_CHI2:
                    arrays["flags"][row] |= Flag.POOR_RECONSTRUCTION
                    continue
                if not size[row] >= _MIN_SAMPLE_SIZE:
                    arrays["flags"][row] |= Flag.LOW_SAMPLE_SIZE
                    continue
                summary = summarise_draws(many.age_grid, {key: value[None] for key, value in draws.items()})
                of_network = {key: arrays[key][row] for key in summary}
                if disagree(of_network, {key: value[0] for key, value in summary.items()}):
                    arrays["flags"][row] |= Flag.NETWORK_OFF
                for key, value in summary.items():
                    arrays[key][row] = value[0]
                for key, value in draws.items():
                    drawn[f"draw_{key}"][row] = value
        arrays |= {**drawn, "effective_sample_size": size}
        return SFHResult(many.contract, arrays, many.meta, many.spectra, many.engine, scalar=result.scalar)

    def _sample(self, result, row, rng):
        """Draws of one spectrum, (N_DRAW, ...), their effective number, and the least chi2 per pixel."""
        arrays, spectra = result.arrays, result.spectra
        mask = spectra["mask"][row]
        unit = np.abs(spectra["flux"][row][~mask]).mean(dtype=float)
        middle = arrays["q_velocity"].shape[-1] // 2
        observed = ObservedSpectrum(
            self.generator,
            *(spectra[name][row].astype(float) / unit for name in ("flux", "flux_err")),
            mask,
            *(spectra[name][row].astype(float) / unit for name in ("band_flux", "band_flux_err")),
            float(arrays["redshift"][row]),
            float(arrays["calibration_error"][row]),
            float(arrays["q_velocity_dispersion"][row, middle]),
            float(arrays["q_velocity"][row, middle]),
        )
        sigmas_kms = self._dispersions(arrays["q_velocity_dispersion"][row])
        for _ in range(_N_RANGE):
            each = [observed.with_dispersion(sigma_kms) for sigma_kms in sigmas_kms]
            likelihood = HistoryLikelihood(each, self.terms, self.sample)
            numbers, log_likelihood = self._temper(likelihood, rng)
            *_, which = self._states(numbers.reshape(-1, self.prior.n_number))
            elsewhere = self._elsewhere(sigmas_kms, which)
            if elsewhere is None:
                break
            sigmas_kms = elsewhere
        flat = numbers.reshape(-1, self.prior.n_number)
        history = self.prior(flat)
        dust = likelihood.draw_dust(*self._states(flat), rng)
        draws = self._draws(history, dust)
        size = effective_sample_size(self._quantities(draws).reshape(*numbers.shape[:2], -1))
        if elsewhere is not None:  # they never stopped to crowd at an end
            size = 0.0
        chosen = np.resize(rng.permutation(len(flat)), N_DRAW)
        history, draws = ({key: value[chosen] for key, value in each.items()} for each in (history, draws))
        draws |= self._mass_to_light(history, tuple(part[chosen] for part in dust), observed)
        return draws, size, -2.0 * log_likelihood.max() / np.count_nonzero(observed.weight)

    def _temper(self, likelihood, rng):
        """A population from the posterior."""
        numbers = np.concatenate(list(self._start_blocks())).reshape(_N_ISLAND, _N_START, -1)
        start = Population(numbers, likelihood(*self._start_states).reshape(numbers.shape[:2]))
        return temper(
            lambda numbers: likelihood(*self._states(numbers)),
            self.prior.kind,
            self.prior.active,
            start,
            _N_CHAIN,
            _N_SWEEP,
            rng,
        )

    def _dispersions(self, quantiles):
        """Velocity dispersions that stand for their prior where it matters, (_N_DISPERSION,), km/s."""
        middle = quantiles[len(quantiles) // 2]
        return self._around(middle, max(2.0 * max(quantiles[-1] - middle, middle - quantiles[0]), _LEAST_REACH_KMS))

    def _elsewhere(self, sigmas_kms, which):
        """Other dispersions, where the draws (positions ``which``) crowd at an end that is not the prior's; or None."""
        share = np.bincount(which, minlength=_N_DISPERSION) / len(which)
        half = 0.5 * (sigmas_kms[1] - sigmas_kms[0])
        limits = self.generator.config.observation.velocity_dispersion_range_kms
        for end, edge, limit in ((0, sigmas_kms[0] - half, limits[0]), (-1, sigmas_kms[-1] + half, limits[1])):
            if share[end] > _CROWDED and abs(edge - limit) > 1e-3:
                return self._around(sigmas_kms[end], _N_DISPERSION * half)
        return None

    def _around(self, middle, reach):
        """Dispersions up to so far from one, as far as the prior goes."""
        lowest, highest = self.generator.config.observation.velocity_dispersion_range_kms
        low, high = np.clip([middle - reach, middle + reach], lowest, highest)
        edges = np.linspace(*((low, high) if high > low else (lowest, highest)), _N_DISPERSION + 1)
        return 0.5 * (edges[1:] + edges[:-1])

    def _draws(self, history, dust):
        """What `SFHResult` calls draws, but for the mass-to-light ratios."""
        grid = self.generator.grid
        light = self.generator.v_light(history["mass"], history["fine_metallicity"], history["shares"])
        mass_fraction, light_fraction, metallicity = bin_history(
            history["mass"], history["fine_metallicity"], light, grid.parent, self.contract.n_age
        )
        return {
            "mass_fraction": mass_fraction,
            "light_fraction": light_fraction,
            "metallicity": metallicity,
            "a_v": dust[1],
        }

    def _mass_to_light(self, history, dust, observed):
        """The two log mass-to-light ratios of draws."""
        _, _, v_dust_free, v_level = self.generator.spectra(history, dust, observed.bases, observed.band_matrix)
        window_aa = V_WINDOW_AA[1] - V_WINDOW_AA[0]
        return {
            "log_mass_to_light": -np.log10(v_dust_free * window_aa),
            "log_mass_to_light_attenuated": -np.log10(v_level * window_aa),
        }

    def _quantities(self, draws):
        """What the effective sample size is measured in, (n, n_quantity)."""
        log_age = self.contract.age_grid.log_ages_dex
        means = [
            average(draws[weight], of)
            for weight in ("mass_fraction", "light_fraction")
            for average, of in ((mean_log_age, log_age), (mean_metallicity, draws["metallicity"]))
        ]
        return np.stack([*means, draws["a_v"]], axis=1)


def disagree(of_network, refined):
    """Whether two answers to one spectrum are further apart than the network's intervals allow.

    Parameters
    ----------
    of_network, refined : dict of ndarray, shape (n_level,)
        Quantiles, named as in `~sfh_cnn.results.SFHResult`.

    Returns
    -------
    bool
    """
    for name in _COMPARED:
        ours, theirs = refined[f"q_{name}"], of_network[f"q_{name}"]
        middle = len(ours) // 2
        off = ours[middle] - theirs[middle]
        if abs(off) > _FAR * abs(theirs[-1 if off > 0 else 0] - theirs[middle]):
            return True
    return False


def _libraries(contract, names, places):
    """The libraries that a network was trained with, checked by their hashes."""
    if unknown := sorted(set(places) - set(names)):
        raise SFHCNNError(
            f"network {contract.name!r} was not trained with {', '.join(unknown)}, but with {', '.join(names)}"
        )
    libraries = []
    for name, record in zip(names, contract.libraries, strict=True):
        place = places.get(name, name)
        try:
            library = place if isinstance(place, SSPLibrary) else SSPLibrary.read(place)
        except (SFHCNNError, ImportError) as err:
            raise SFHCNNError(
                f"refine=True needs the stellar libraries of network {contract.name!r} and {name!r} is not to be had "
                f"({err}); say where it lies with libraries={{{name!r}: PATH}}, or --library {name}=PATH"
            ) from err
        if library.sha256 != record["sha256"]:
            raise SFHCNNError(
                f"refine=True: library {name!r} is not the one that network {contract.name!r} was trained with: its "
                f"SHA-256 is {library.sha256}, the card says {record['sha256']}"
            )
        libraries.append(library)
    return libraries
