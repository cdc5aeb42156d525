"""Refinement: the exact posterior of the training's prior, where the stellar libraries are at hand."""

import numpy as np

from sfh_cnn.core import Flag, SFHCNNError, build_config, progress
from sfh_cnn.core.constants import V_WINDOW_AA
from sfh_cnn.core.history import mean_log_age, mean_metallicity
from sfh_cnn.results import SFHResult, summarise_draws
from sfh_cnn.ssp import SSPLibrary
from sfh_cnn.synthesis import MockGenerator, SynthesisConfig, bin_history

from .anneal import anneal, effective_sample_size
from .likelihood import SpectrumLikelihood
from .replay import ReplayedPrior

__all__ = ["Refiner"]

#: Independent populations, and their size when the likelihood is switched on and from there on.
_N_ISLAND, _N_START, _N_PARTICLE = 4, 3072, 256
#: Sweeps after each step in temperature, and at the end.
_N_SWEEP, _N_FINAL = 8, 120
#: Draws kept of each spectrum.
N_DRAW = 1000
#: Below this the network's own answer is kept.
_MIN_SAMPLE_SIZE = 20
#: Histories in memory at a time.
_BLOCK = 512


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
            and the flag LOW_SAMPLE_SIZE is set.
        """
        many = result.as_many()
        arrays = {key: np.array(value) for key, value in many.arrays.items()}
        drawn = many.engine.draw(arrays["latent"], N_DRAW, seed)
        drawn = {f"draw_{key}": np.array(value, dtype=np.float32) for key, value in drawn.items()}
        size = np.full(many.n_spec, np.nan)
        rows = np.flatnonzero(np.isfinite(arrays["mass_fraction"]).all(axis=1))
        with progress(len(rows), "refining", enabled=progress_bar) as advance:
            for row in rows:
                draws, size[row] = self._sample(many, row, np.random.default_rng([seed, 0]))
                advance(1)
                if not size[row] >= _MIN_SAMPLE_SIZE:
                    arrays["flags"][row] |= Flag.LOW_SAMPLE_SIZE
                    continue
                for key, value in summarise_draws(
                    many.age_grid, {key: value[None] for key, value in draws.items()}
                ).items():
                    arrays[key][row] = value[0]
                for key, value in draws.items():
                    drawn[f"draw_{key}"][row] = value
        arrays |= {**drawn, "effective_sample_size": size}
        return SFHResult(many.contract, arrays, many.meta, many.spectra, many.engine, scalar=result.scalar)

    def _sample(self, result, row, rng):
        """Draws of one spectrum, (N_DRAW, ...), and their effective number."""
        arrays, spectra = result.arrays, result.spectra
        mask = spectra["mask"][row]
        unit = np.abs(spectra["flux"][row][~mask]).mean(dtype=float)
        middle = arrays["q_velocity"].shape[-1] // 2
        likelihood = SpectrumLikelihood(
            self.generator,
            *(spectra[name][row].astype(float) / unit for name in ("flux", "flux_err")),
            mask,
            *(spectra[name][row].astype(float) / unit for name in ("band_flux", "band_flux_err")),
            float(arrays["redshift"][row]),
            float(arrays["calibration_error"][row]),
            float(arrays["q_velocity_dispersion"][row, middle]),
            float(arrays["q_velocity"][row, middle]),
        )

        def log_likelihood(numbers):
            parts = [numbers[start : start + _BLOCK] for start in range(0, len(numbers), _BLOCK)]
            return np.concatenate([likelihood(*self.prior(part)) for part in parts])

        start = rng.random((_N_ISLAND, _N_START, self.prior.n_number))
        numbers, _ = anneal(
            log_likelihood, self.prior.kind, self.prior.active, start, _N_PARTICLE, _N_SWEEP, _N_FINAL, rng
        )
        draws = self._draws(numbers.reshape(-1, self.prior.n_number), likelihood)
        size = effective_sample_size(self._quantities(draws).reshape(*numbers.shape[:2], -1))
        chosen = rng.permutation(len(draws["a_v"]))[:N_DRAW]
        return {key: value[chosen] for key, value in draws.items()}, size

    def _draws(self, numbers, likelihood):
        """What `SFHResult` calls draws, from numbers of the prior."""
        generator = self.generator
        history, dust = self.prior(numbers)
        light = generator.v_light(history["mass"], history["fine_metallicity"], history["shares"])
        mass_fraction, light_fraction, metallicity = bin_history(
            history["mass"], history["fine_metallicity"], light, generator.grid.parent, self.contract.n_age
        )
        _, _, v_dust_free, v_level = generator.spectra(
            history, dust, likelihood.bases, np.zeros((len(generator.grid.coarse_wave_aa), 0), dtype=np.float32)
        )
        window_aa = V_WINDOW_AA[1] - V_WINDOW_AA[0]
        return {
            "mass_fraction": mass_fraction,
            "light_fraction": light_fraction,
            "metallicity": metallicity,
            "a_v": dust[1],
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
