"""SFHResult: the histories of one or many spectra, with units, intervals and draws."""

from __future__ import annotations

from collections import ChainMap
from typing import TYPE_CHECKING, NamedTuple

import astropy.units as u
import numpy as np

from sfh_cnn.core import FLUX_UNIT, SFHCNNError, flag_names
from sfh_cnn.core.constants import QUANTILE_LEVELS

from .derived import RECENT, DerivedQuantities, v_luminosity_lsun
from .draws import DRAW_KEYS, INTERVAL_DRAWS, INTERVAL_SEED, SFHDraws
from .quantiles import interpolate_quantiles, tails
from .quantities import QUANTILE_KEYS, QUANTITIES, REQUIRED_KEYS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import SimpleNamespace
    from typing import Any

    from astropy.table import QTable
    from numpy.typing import ArrayLike
    from specutils import Spectrum

    from sfh_cnn.core import AgeGrid, ModelContract

__all__ = ["DRAW_BLOCK", "SHARED_KEYS", "Reconstruction", "SFHResult"]

#: Position of the median among the stored quantiles.
_MEDIAN = QUANTILE_LEVELS.index(0.5)
#: Spectra per call when drawing for intervals: bounds the memory.
DRAW_BLOCK = 512
#: Spectra up to which a result keeps the draws behind its intervals.
_FEW = 16
#: Arrays of ``spectra`` that are not one row per spectrum.
SHARED_KEYS = ("wave_aa",)


class Reconstruction(NamedTuple):
    """The spectrum and bands that a prediction implies.

    ``wavelength`` is the rest-frame grid (air); ``flux`` and ``band_flux`` are observed-frame flux
    densities (Galactic extinction removed); ``reduced_chi2`` compares with what was fitted.
    """

    wavelength: u.Quantity
    flux: u.Quantity
    band_flux: u.Quantity
    reduced_chi2: np.ndarray


class SFHResult(DerivedQuantities):
    """Star formation and enrichment histories of one or many spectra.

    Point values are posterior means for ``mass_fraction`` and ``light_fraction`` (rows sum to 1) and
    posterior medians for everything that has stored quantiles. What follows from the histories
    (``sfr``, ``t50``, ``cumulative_mass``, ``recent_sfr``, ...) is computed from the mean mass fractions and
    the median mass.

    Parameters
    ----------
    contract : `~sfh_cnn.core.ModelContract`
        Age bins, bands, IMF and name of the network.
    arrays : dict of ndarray
        Plain arrays with the spectra first: ``mass_fraction``, ``light_fraction``, ``surviving_fraction``
        (n_spec, n_age); quantiles at `sfh_cnn.core.constants.QUANTILE_LEVELS` ``q_mass_fraction``,
        ``q_light_fraction``, ``q_metallicity`` (n_spec, n_age, 7) and ``q_mass_weighted_log_age``,
        ``q_light_weighted_log_age``, ``q_mass_weighted_metallicity``, ``q_light_weighted_metallicity``,
        ``q_a_v``, ``q_log_mass_to_light``, ``q_log_mass_to_light_attenuated``,
        ``q_log_recent_fraction`` (n_spec, 7); ``flags``, ``snr``, ``redshift``, ``calibration_error``,
        ``reduced_chi2``, ``unusualness``, ``v_flux`` (erg/s/cm2/Angstrom), ``distance_mpc`` (n_spec,);
        ``latent`` (n_spec, n_latent). Stored draws may follow as ``draw_*``.
    meta : dict, optional
        Plain facts for the record: versions, network hash, date, settings.
    spectra : dict of ndarray, optional
        What was fitted, for plots: ``wave_aa`` (n_wave,), ``flux``, ``flux_err``, ``mask`` (True = bad;
        n_spec, n_wave), ``band_flux``, ``band_flux_err`` (n_spec, n_band), on the rest-frame grid in
        observed-frame erg/s/cm2/Angstrom.
    engine : object, optional
        Gives ``draw(latent, n_draws, seed)`` and ``reconstruct(result)``; the predictor attaches it. It
        is not written to files.
    scalar : bool, optional
        A single spectrum: public arrays have no leading axis.

    Raises
    ------
    SFHCNNError
        If an array is missing or has the wrong shape.
    """

    def __init__(
        self,
        contract: ModelContract,
        arrays: dict[str, np.ndarray],
        meta: dict[str, Any] | None = None,
        spectra: dict[str, np.ndarray] | None = None,
        engine: Any = None,
        scalar: bool = False,
    ) -> None:
        self.contract = contract
        self.arrays = {key: np.asarray(value) for key, value in arrays.items()}
        self.meta = dict(meta or {})
        self.spectra = None if spectra is None else {key: np.asarray(value) for key, value in spectra.items()}
        self.engine = engine
        self.scalar = bool(scalar)
        self._few_draws: Any = None
        self._check()
        self._mass_fraction = self.arrays["mass_fraction"]
        self._surviving_fraction = self.arrays["surviving_fraction"]

    # ---- the numbers -------------------------------------------------------------------------------------------

    @property
    def mass_fraction(self) -> u.Quantity:
        """Share of the mass formed in each age bin, posterior mean, shape (n_spec, n_age)."""
        return self._named("mass_fraction", self._mass_fraction)

    @property
    def light_fraction(self) -> u.Quantity:
        """Share of the dust-free light at 5070-5950 Angstrom from each bin, posterior mean, shape (n_spec, n_age)."""
        return self._named("light_fraction", self.arrays["light_fraction"])

    @property
    def metallicity(self) -> u.Quantity:
        """[M/H] of each age bin in dex, posterior median, shape (n_spec, n_age)."""
        return self._median("metallicity")

    @property
    def a_v(self) -> u.Quantity:
        """Attenuation by diffuse dust in V, mag, posterior median."""
        return self._median("a_v")

    @property
    def mass_weighted_log_age(self) -> u.Quantity:
        """Mean log10(age/yr) weighted by mass formed, dex(yr), posterior median."""
        return self._median("mass_weighted_log_age")

    @property
    def light_weighted_log_age(self) -> u.Quantity:
        """Mean log10(age/yr) weighted by V light, dex(yr), posterior median."""
        return self._median("light_weighted_log_age")

    @property
    def mass_weighted_age(self) -> u.Quantity:
        """10 to the mass-weighted mean log age, Gyr, posterior median."""
        return self._median("mass_weighted_age")

    @property
    def light_weighted_age(self) -> u.Quantity:
        """10 to the light-weighted mean log age, Gyr, posterior median."""
        return self._median("light_weighted_age")

    @property
    def mass_weighted_metallicity(self) -> u.Quantity:
        """Mean [M/H] weighted by mass formed, dex, posterior median."""
        return self._median("mass_weighted_metallicity")

    @property
    def light_weighted_metallicity(self) -> u.Quantity:
        """Mean [M/H] weighted by V light, dex, posterior median."""
        return self._median("light_weighted_metallicity")

    @property
    def mass_to_light(self) -> u.Quantity:
        """Mass formed per dust-free V luminosity, M_sun/L_sun, posterior median.

        L_V is the integral of L_lambda over 5070-5950 Angstrom in units of the Sun's bolometric luminosity.
        """
        return self._median("mass_to_light")

    @property
    def mass_to_light_attenuated(self) -> u.Quantity:
        """Mass formed per observed (attenuated) V luminosity, M_sun/L_sun, posterior median; L_V as above."""
        return self._median("mass_to_light_attenuated")

    def recent_sfr(self, timescale: u.Quantity = RECENT) -> u.Quantity:
        """Mean star formation rate of the last ``timescale``; needs a distance.

        Over 100 Myr it is the posterior median, over other times it follows from the mean mass fractions.

        Parameters
        ----------
        timescale : `~astropy.units.Quantity`, optional
            Lookback time to average over.

        Returns
        -------
        `~astropy.units.Quantity`
            M_sun/yr.
        """
        stored = self._stored_quantile("recent_sfr", {"timescale": timescale})
        return super().recent_sfr(timescale) if stored is None else self._named("recent_sfr", stored(0.5))

    @property
    def recent_fraction(self) -> u.Quantity:
        """Share of the mass formed in the last 100 Myr, posterior median, floor 1e-5."""
        return self._median("recent_fraction")

    # ---- the circumstances -------------------------------------------------------------------------------------

    @property
    def flags(self) -> Any:
        """Quality flags, bits of `~sfh_cnn.core.Flag`; 0 is clean."""
        return self._plain("flags")

    def flag_names(self, i: int | None = None) -> list[Any]:
        """Names of the flags of one spectrum.

        Parameters
        ----------
        i : int, optional
            Which spectrum; not needed for a single one.

        Returns
        -------
        list of str
        """
        if i is None and not self.scalar:
            return [flag_names(value) for value in self.arrays["flags"]]
        return flag_names(self.arrays["flags"][i or 0])

    @property
    def snr(self) -> Any:
        """Median S/N per pixel of the network's grid."""
        return self._plain("snr")

    @property
    def redshift(self) -> Any:
        """Redshift used."""
        return self._plain("redshift")

    @property
    def distance(self) -> u.Quantity:
        """Luminosity distance in Mpc; NaN where none was given."""
        return self._out(self.arrays["distance_mpc"], u.Mpc)

    @property
    def calibration_error(self) -> Any:
        """Fractional calibration error the prediction allowed for."""
        return self._plain("calibration_error")

    @property
    def reduced_chi2(self) -> Any:
        """Reduced chi2 of the reconstructed spectrum."""
        return self._plain("reduced_chi2")

    @property
    def unusualness(self) -> Any:
        """Distance from the training set in latent space over its threshold; above 1 is flagged."""
        return self._plain("unusualness")

    @property
    def effective_sample_size(self) -> np.ndarray:
        """Independent draws that a refined posterior is worth; below 20 the network's answer was kept.

        Raises
        ------
        SFHCNNError
            If the result was not refined.
        """
        if "effective_sample_size" not in self.arrays:
            raise SFHCNNError("this result was not refined: pass refine=True to predict()")
        return self._plain("effective_sample_size")

    @property
    def v_flux(self) -> u.Quantity:
        """Mean observed f_lambda over the rest-frame V window, Galactic extinction removed."""
        return self._out(self.arrays["v_flux"], FLUX_UNIT)

    # ---- uncertainties -----------------------------------------------------------------------------------------

    def quantile(self, name: str, probability: float, **options: Any) -> u.Quantity:
        """Posterior quantile of any quantity.

        Quantities the network predicts come from its quantiles at the stored levels, in between by
        interpolation that is linear in the probit of the probability. ``mass_formed`` follows from the
        mass-to-light ratio, ``sfr`` and ``recent_sfr`` from stored quantiles of the shares with the mass
        at its point value, ``mass_surviving`` from those of the mass formed with shares that survive as
        the age bins have them. What has no stored quantile (``t50``, ``cumulative_mass``,
        ``specific_sfr``, ``recent_sfr`` over other times than 100 Myr, ``formation_time``) comes from
        500 draws with a fixed seed.

        Parameters
        ----------
        name : str
            Name of a property, or ``"formation_time"``.
        probability : float
            Between 0 and 1.
        **options
            ``timescale`` for ``recent_sfr`` and ``specific_sfr``, ``share`` for ``formation_time``.

        Returns
        -------
        `~astropy.units.Quantity`
            The shape of the property.

        Raises
        ------
        SFHCNNError
            If the name is unknown, the probability beyond the stored levels, or draws are needed and
            not to be had.
        """
        return self._quantiles(name, (probability,), options)[0]

    def interval(self, name: str, level: float = 0.6827, **options: Any) -> tuple[u.Quantity, u.Quantity]:
        """Central credible interval of any quantity.

        Parameters
        ----------
        name : str
            Name of a property, or ``"formation_time"``; see `quantile` for where each comes from.
        level : float, optional
            Share of the probability inside, up to 0.9545 for stored quantities.
        **options
            ``timescale`` for ``recent_sfr`` and ``specific_sfr``, ``share`` for ``formation_time``.

        Returns
        -------
        lower, upper : `~astropy.units.Quantity`
            Each of the shape of the property.

        Raises
        ------
        SFHCNNError
            As `quantile`.
        """
        return tuple(self._quantiles(name, tails(level), options))

    def draws(self, n_draws: int = 200, seed: int = 0) -> SFHDraws:
        """Joint posterior draws of every quantity.

        Parameters
        ----------
        n_draws : int, optional
            Draws per spectrum.
        seed : int, optional
            Same seed, same draws.

        Returns
        -------
        `SFHDraws`
            The names of this class, with an axis of draws after the spectra.

        Raises
        ------
        SFHCNNError
            If neither the network nor enough stored draws are at hand.
        """
        return SFHDraws(self.contract, self._draw_arrays(n_draws, seed), self)

    def reconstruct(self) -> Reconstruction:
        """The spectrum and bands that the prediction implies.

        Returns
        -------
        `Reconstruction`

        Raises
        ------
        SFHCNNError
            If there are no spectra, or the network is not attached and the file held no reconstruction.
        """
        if self.spectra is None:
            raise SFHCNNError(
                "the reconstruction needs the fitted spectra, and this result has none: predict with "
                "keep_spectra=True, or for maps use sfh_cnn.prediction.attach_spectra"
            )
        if self.engine is not None:
            model = self.engine.reconstruct(self)
        elif "model_flux" in self.spectra:
            model = {key: self.spectra[f"model_{key}"] for key in ("flux", "band_flux", "reduced_chi2")}
        else:
            raise SFHCNNError(
                "the reconstruction needs the network: call predictor.attach(result), or write the result "
                "with its spectra, which stores the reconstruction beside them"
            )
        chi2 = np.asarray(model["reduced_chi2"])
        return Reconstruction(
            self.contract.wavelength_grid.wavelength,
            self._out(np.asarray(model["flux"]), FLUX_UNIT),
            self._out(np.asarray(model["band_flux"]), FLUX_UNIT),
            chi2[0] if self.scalar else chi2,
        )

    # ---- many spectra ------------------------------------------------------------------------------------------

    @property
    def n_spec(self) -> int:
        """Number of spectra."""
        return len(self.arrays["flags"])

    @property
    def shape(self) -> tuple[int, ...]:
        """() for a single spectrum, else (n_spec,)."""
        return () if self.scalar else (self.n_spec,)

    def __len__(self):
        if self.scalar:
            raise TypeError("a result of a single spectrum has no length")
        return self.n_spec

    def __getitem__(self, item):
        if self.scalar:
            raise TypeError("a result of a single spectrum cannot be indexed")
        single = isinstance(item, (int, np.integer))
        if single and not -self.n_spec <= item < self.n_spec:
            raise IndexError(f"spectrum {item} of a result of {self.n_spec} spectra")
        rows = np.arange(self.n_spec)[item]
        rows = np.atleast_1d(rows)
        spectra = self.spectra and {
            key: value if key in SHARED_KEYS else value[rows] for key, value in self.spectra.items()
        }
        return type(self)(
            self.contract,
            {key: value[rows] for key, value in self.arrays.items()},
            self.meta,
            spectra,
            self.engine,
            scalar=single,
        )

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def as_many(self) -> SFHResult:
        """Give a single spectrum a leading axis of length one; others are returned as they are."""
        if not self.scalar:
            return self
        return type(self)(self.contract, self.arrays, self.meta, self.spectra, self.engine)

    def rebin(self, age_grid: AgeGrid) -> SFHResult:
        """Histories on other, usually coarser age bins.

        Fractions are added up with constant SFR inside a bin; [M/H] is weighted by mass; intervals come
        from 500 draws, which the new result stores.

        Parameters
        ----------
        age_grid : `~sfh_cnn.core.AgeGrid`
            New bins; they must span the old ones.

        Returns
        -------
        SFHResult

        Raises
        ------
        SFHCNNError
            If the new bins would lose mass, or draws are not to be had.
        """
        from .regroup import rebin_result

        return rebin_result(self, age_grid)

    def stack(self, weights: ArrayLike | None = None) -> SFHResult:
        """Add the spectra's populations up: the history of all stars together.

        Each spectrum counts with the mass it formed (from its light and mass-to-light ratio; without
        distances all are taken to be equally far), times ``weights``. Uncertainties of different spectra are
        taken to be independent, so the interval of a stack does not include errors that all share (of the
        stellar models, say). Spectra without a prediction (NaN) are left out.

        Parameters
        ----------
        weights : array-like, shape (n_spec,), optional
            Extra factors, such as the share of each bin inside an aperture.

        Returns
        -------
        SFHResult
            A single history with stored draws.

        Raises
        ------
        SFHCNNError
            If weights do not fit, only some spectra have a distance, or draws are not to be had.
        """
        from .regroup import stack_result

        return stack_result(self, weights)

    @classmethod
    def concatenate(cls, results: Iterable[SFHResult]) -> SFHResult:
        """Join results of one network, one row after the other.

        Parameters
        ----------
        results : sequence of SFHResult
            At least one, all of the same contract.

        Returns
        -------
        SFHResult
            With what all of them hold: stored draws and spectra are kept only if each has them.

        Raises
        ------
        SFHCNNError
            If there is none, the contracts differ, only some were refined, or they hold different numbers of draws.
        """
        results = list(results)
        if not results:
            raise SFHCNNError("results is empty; nothing to join")
        first = results[0]
        if any(one.contract != first.contract for one in results):
            raise SFHCNNError("results come from different networks and cannot be joined")
        # Without their draws, refined rows would be drawn from the network and no longer agree with their quantiles.
        if len({"effective_sample_size" in one.arrays for one in results}) == 2:
            raise SFHCNNError("only some of the results were refined; join refined results with refined ones only")
        keys = set.intersection(*(set(one.arrays) for one in results))
        n_draws = {one.arrays[key].shape[1] for key in keys if key.startswith("draw_") for one in results}
        if len(n_draws) > 1:
            raise SFHCNNError(
                f"results hold different numbers of stored draws ({', '.join(map(str, sorted(n_draws)))}); join those "
                "with equal numbers"
            )
        arrays = {key: np.concatenate([one.arrays[key] for one in results]) for key in first.arrays if key in keys}
        spectra = None
        fitted = [one.spectra for one in results if one.spectra is not None]
        if len(fitted) == len(results):
            keys = set.intersection(*(set(one) for one in fitted))
            spectra = {
                key: value if key in SHARED_KEYS else np.concatenate([one[key] for one in fitted])
                for key, value in fitted[0].items()
                if key in keys
            }
        engine = first.engine if all(one.engine is first.engine for one in results) else None
        meta = dict(ChainMap(*(one.meta for one in results)))  # that one of them is a stack is not forgotten
        return cls(first.contract, arrays, meta, spectra, engine)

    # ---- out and in --------------------------------------------------------------------------------------------

    def to_table(self, level: float = 0.6827) -> QTable:
        """Tidy table, one row per spectrum, with units and descriptions.

        Parameters
        ----------
        level : float, optional
            Level of the intervals in the columns ``*_lower`` and ``*_upper``.

        Returns
        -------
        `~astropy.table.QTable`
            Masses are there if any spectrum has a distance. Quantities whose intervals need draws (``t50``,
            ``specific_sfr``) come without.
        """
        from .tables import result_to_table

        return result_to_table(self, level)

    def to_dict(self, level: float = 0.6827) -> dict[str, np.ndarray]:
        """Plain numpy arrays, the unit in each name, e.g. ``sfr_msun_yr`` and ``age_edges_gyr``.

        Parameters
        ----------
        level : float, optional
            Level of the intervals ``*_lower`` and ``*_upper``.

        Returns
        -------
        dict of ndarray
        """
        from .tables import result_to_dict

        return result_to_dict(self, level)

    def to_spectrum(self) -> Spectrum:
        """Reconstructed spectrum on the rest-frame grid, in observed-frame flux density.

        Returns
        -------
        `specutils.Spectrum`
        """
        from specutils import Spectrum

        model = self.reconstruct()
        return Spectrum(flux=model.flux, spectral_axis=model.wavelength)

    def to_prospector(self, n_draws: int = 200, seed: int = 0) -> dict[str, np.ndarray]:
        """Draws of one spectrum as the parameters of Prospector's non-parametric histories.

        Parameters
        ----------
        n_draws : int, optional
            Joint draws from the posterior.
        seed : int, optional
            Same seed, same draws.

        Returns
        -------
        dict of ndarray
            ``agebins`` (n_age, 2), log10 of lookback time in yr; ``mass`` (n_draws, n_age), M_sun formed in each bin;
            ``logmass``, its sum; ``logsfr_ratios`` (n_draws, n_age - 1), log10 of the star formation rate of a bin
            over that of the next older one; ``logzsol``, mass-weighted [M/H]; ``dust2``, optical depth in V; ``zred``.

        Raises
        ------
        SFHCNNError
            If there are several spectra, no distance, or draws are not to be had.
        """
        from .adapters import to_prospector

        return to_prospector(self, n_draws, seed)

    def to_bagpipes(self, n_draws: int = 200, seed: int = 0) -> SimpleNamespace:
        """Draws of one spectrum in the form that the plots of bagpipes take.

        Parameters
        ----------
        n_draws : int, optional
            Joint draws from the posterior.
        seed : int, optional
            Same seed, same draws.

        Returns
        -------
        `~types.SimpleNamespace`
            For ``bagpipes.plotting.add_sfh_posterior(fit, ax)``, with ``posterior.sfh.ages`` (yr of lookback time, the
            two ends of each bin) and ``posterior.samples``, named and meant as in bagpipes: ``sfh`` (n_draws,
            2 n_age), M_sun/yr; ``formed_mass``, ``stellar_mass`` and ``ssfr`` as log10; ``sfr`` over 100 Myr;
            ``mass_weighted_age``, the mean of age, not of log age, in Gyr; ``dust:Av``; ``redshift``.

        Raises
        ------
        SFHCNNError
            If there are several spectra, no distance, or draws are not to be had.
        """
        from .adapters import to_bagpipes

        return to_bagpipes(self, n_draws, seed)

    def write(
        self,
        path: str | Path,
        overwrite: bool = False,
        draws: int = 0,
        spectra: bool = True,
        format: str | None = None,  # noqa: A002 - astropy's word
    ) -> None:
        """Write to FITS, ECSV or ASDF, as the suffix of ``path`` says.

        Parameters
        ----------
        path : str or `pathlib.Path`
            Ends in .fits, .fits.gz, .ecsv or .asdf.
        overwrite : bool, optional
            Replace an existing file.
        draws : int, optional
            Store this many posterior draws per spectrum (single precision), for use without the network.
        spectra : bool, optional
            Store what was fitted and, with the network attached, the reconstruction, so that the file can be
            plotted.
        format : str, optional
            Name of the format: fits, ecsv, asdf or a registered one, which is called with the result, the path,
            ``draws`` and ``spectra``. By default the suffix decides.

        Raises
        ------
        FileExistsError
            If the file exists and ``overwrite`` is False.
        SFHCNNError
            If the suffix or the format is unknown.

        Notes
        -----
        The formats are those that astropy's registry (`astropy.io.registry`) has for this class; others can be
        registered.
        """
        from .result_files import write_result

        write_result(self, path, overwrite, draws, spectra, format)

    @classmethod
    def read(cls, path: str | Path, format: str | None = None) -> SFHResult:  # noqa: A002 - astropy's word
        """Read what `write` wrote, to the last digit.

        Parameters
        ----------
        path : str or `pathlib.Path`
            A .fits, .fits.gz, .ecsv or .asdf file.
        format : str, optional
            As in `write`.

        Returns
        -------
        SFHResult
            Without the network: attach it with ``predictor.attach(result)`` for more draws.

        Raises
        ------
        SFHCNNError
            If the file holds no result, or one of another format version.

        Notes
        -----
        The formats are those that astropy's registry has for this class, as for `write`.
        """
        from .result_files import read_result

        return read_result(path, format)

    def __repr__(self):
        from .text import result_to_text

        return result_to_text(self)

    def _repr_html_(self):
        from .text import result_to_html

        return result_to_html(self)

    # ---- inside ------------------------------------------------------------------------------------------------

    def check_distance(self) -> None:
        """Raise if no spectrum has a distance, for then there are no masses.

        Raises
        ------
        SFHCNNError
        """
        if not np.any(np.isfinite(self.arrays["distance_mpc"])):
            raise SFHCNNError(
                "masses and star formation rates need a distance: pass distance= (e.g. distance=10 * u.Mpc) to "
                "predict(); mass fractions and mass-to-light ratios need none"
            )

    def has_stored_quantiles(self, name: str) -> bool:
        """Whether the interval of a quantity is there without draws."""
        return self._stored_quantile(name, {}) is not None

    @property
    def has_stored_draws(self) -> bool:
        """Whether draws can be had without the network."""
        return self._n_stored_draws > 0

    @property
    def n_interval_draws(self) -> int:
        """Number of draws behind intervals that have no stored quantiles."""
        return INTERVAL_DRAWS if self.engine is not None or not self._n_stored_draws else self._n_stored_draws

    def _check(self):
        missing = [key for key in REQUIRED_KEYS if key not in self.arrays]
        if missing:
            raise SFHCNNError(f"arrays lacks {', '.join(missing)}")
        n_spec, n_age, n_level = len(self.arrays["flags"]), self.contract.n_age, len(QUANTILE_LEVELS)
        for key, value in self.arrays.items():
            if value.shape[:1] != (n_spec,):
                raise SFHCNNError(f"arrays[{key!r}] has shape {value.shape}, its first axis should be {n_spec} spectra")
        expected = dict.fromkeys(("mass_fraction", "light_fraction", "surviving_fraction"), (n_age,))
        for key in QUANTILE_KEYS:
            per_bin = key in ("q_mass_fraction", "q_light_fraction", "q_metallicity")
            expected[key] = (n_age, n_level) if per_bin else (n_level,)
        for key, shape in expected.items():
            if self.arrays[key].shape[1:] != shape:
                raise SFHCNNError(f"arrays[{key!r}] has shape {self.arrays[key].shape}, expected {(n_spec, *shape)}")
        if self.scalar and n_spec != 1:
            raise SFHCNNError(f"scalar=True needs one spectrum, got {n_spec}")

    def _plain(self, key):
        return self.arrays[key][0] if self.scalar else self.arrays[key]

    def _median(self, name):
        info = QUANTITIES[name]
        return self._out(info.from_stored(self.arrays[info.key][..., _MEDIAN]), info.unit)

    def _mass_formed_msun(self, probability=0.5):
        self.check_distance()
        arrays = self.arrays
        luminosity_lsun = v_luminosity_lsun(arrays["v_flux"], arrays["redshift"], arrays["distance_mpc"])
        return 10 ** interpolate_quantiles(arrays["q_log_mass_to_light_attenuated"], probability) * luminosity_lsun

    def _surviving_slope(self):
        """Change of the log share that survives with log mass-to-light, from bin to bin weighted by light, (n_spec,).

        Where more mass gives the same light the stars are older, and fewer of them are left.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.log10(self.arrays["mass_fraction"] / self.arrays["light_fraction"])
            share = np.log10(self.arrays["surviving_fraction"])
        known = np.isfinite(ratio) & np.isfinite(share)
        weight = np.where(known, self.arrays["light_fraction"], 0.0)
        ratio, share = np.where(known, ratio, 0.0), np.where(known, share, 0.0)
        with np.errstate(invalid="ignore"):  # a single bin has no slope
            ratio = ratio - np.sum(weight * ratio, axis=1, keepdims=True) / weight.sum(axis=1, keepdims=True)
            return np.nan_to_num(np.sum(weight * ratio * share, axis=1) / np.sum(weight * ratio**2, axis=1))

    def _quantiles(self, name, probabilities, options):
        if name not in QUANTITIES and name != "formation_time":
            raise SFHCNNError(f"no quantity is called {name!r}; known: {', '.join([*QUANTITIES, 'formation_time'])}")
        stored = self._stored_quantile(name, options)
        if stored is not None:
            return [self._named(name, stored(probability)) for probability in probabilities]
        return self._drawn_quantiles(name, probabilities, options)

    def _stored_quantile(self, name, options):
        """Function from probability to plain values, or None if the quantity needs draws."""
        info = QUANTITIES.get(name)
        if info is not None and info.key is not None:
            return lambda p: info.from_stored(interpolate_quantiles(self.arrays[info.key], p))
        if name == "mass_formed":
            return self._mass_formed_msun
        if name == "mass_surviving":
            point, slope = self._mass_formed_msun(), self._surviving_slope()
            return lambda p: self._surviving_share * point * (self._mass_formed_msun(p) / point) ** (1 + slope)
        if name == "sfr":
            share = self.arrays["q_mass_fraction"]
            widths_yr = np.diff(self._edges_yr)
            return lambda p: interpolate_quantiles(share, p) * self._mass_formed_msun()[:, None] / widths_yr
        if name == "recent_sfr" and u.Quantity(options.get("timescale", RECENT)) == RECENT:
            recent = self.arrays["q_log_recent_fraction"]
            time_yr = RECENT.to_value(u.yr)
            return lambda p: 10 ** interpolate_quantiles(recent, p) * self._mass_formed_msun() / time_yr
        return None

    def _drawn_quantiles(self, name, probabilities, options):
        many = self.as_many()
        blocks = []
        for start in range(0, many.n_spec, DRAW_BLOCK):
            value = getattr(self._interval_draws(many, start), name)
            value = value(**options) if callable(value) else value
            blocks.append(np.quantile(value.value, probabilities, axis=1))
        return [self._out(plain, value.unit) for plain in np.concatenate(blocks, axis=1)]

    def _interval_draws(self, many, start):
        """Draws behind the intervals of a block of spectra; those of a few spectra are kept for the next question."""
        if many.n_spec > _FEW:
            return many[start : start + DRAW_BLOCK].draws(self.n_interval_draws, INTERVAL_SEED)
        if self._few_draws is None or self._few_draws[0] is not self.engine:
            self._few_draws = self.engine, many.draws(self.n_interval_draws, INTERVAL_SEED)
        return self._few_draws[1]

    @property
    def _n_stored_draws(self):
        return self.arrays["draw_mass_fraction"].shape[1] if "draw_mass_fraction" in self.arrays else 0

    def _draw_arrays(self, n_draws, seed):
        refined = "effective_sample_size" in self.arrays
        if self.engine is not None and not refined:
            return self.engine.draw(self.arrays["latent"], n_draws, seed)
        if n_draws > self._n_stored_draws:
            have = f"this result stores {self._n_stored_draws}" if self._n_stored_draws else "this result stores none"
            if refined:
                raise SFHCNNError(f"{n_draws} draws were asked and {have}, as every refined result does")
            raise SFHCNNError(
                f"{n_draws} draws were asked and {have}: attach the network with predictor.attach(result), "
                f"or write the result with write(path, draws={n_draws})"
            )
        chosen = np.random.default_rng(seed).permutation(self._n_stored_draws)[:n_draws]
        return {key: self.arrays[f"draw_{key}"][:, chosen] for key in DRAW_KEYS}
