"""SFHPredictor: from spectra and photometry to histories."""

from __future__ import annotations

import dataclasses
import datetime as dt
import numbers
from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np
import torch

from sfh_cnn.core import (
    ContractError,
    CoverageError,
    Flag,
    NetworkFileError,
    SFHCNNError,
    conf,
    progress,
    to_plain,
)
from sfh_cnn.core.constants import SCALAR_NAMES
from sfh_cnn.network import PackedNetwork, load_artifact
from sfh_cnn.photometry import read_photometry
from sfh_cnn.results import SFHResult
from sfh_cnn.spectra import deredden, open_cube, open_spectra

from .batches import run_network
from .blocks import InputBlocks
from .cube import predict_cube
from .engine import Engine
from .forks import one_thread_after_fork
from .limits import band_limit, chi2_limit, doubtful_velocity
from .lines import near_lines
from .pretrained import available, released_network
from .refine import Refiner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from typing import Any

    from astropy.cosmology import Cosmology
    from astropy.table import QTable
    from numpy.typing import ArrayLike
    from specutils import Spectrum

    from sfh_cnn.network import Artifact
    from sfh_cnn.results import SFHMaps

__all__ = ["SFHPredictor"]

#: More spectra than this have a progress bar, and are not kept, unless the user says otherwise.
_MANY = 10_000


class SFHPredictor:
    """Star formation and enrichment histories from a released network.

    Make one with `pretrained` or `from_file`; a predictor may be used from several threads, and sent to other
    processes. Those that are forked after one was made use one thread of torch each. With several threads of torch
    (``sfh_cnn.conf.threads``, ``torch.set_num_threads``) many spectra are predicted side by side, to the same numbers.

    Parameters
    ----------
    artifact : `~sfh_cnn.network.Artifact`
        A loaded network.
    precision : {"float32", "bfloat16"}, optional
        Number format of the network's large products; see `pretrained`.

    Examples
    --------
    >>> from sfh_cnn import SFHPredictor
    >>> from sfh_cnn.examples import load_example_spectrum
    >>> predictor = SFHPredictor.pretrained()
    >>> result = predictor.predict(load_example_spectrum())
    >>> result.mass_fraction.shape
    (16,)
    """

    def __init__(self, artifact: Artifact, precision: Any = "float32") -> None:
        one_thread_after_fork()
        self.contract = artifact.contract
        self.sha256 = artifact.sha256
        self.engine = Engine(artifact)
        self._artifact = dataclasses.replace(artifact, scripted=None)
        self._device = artifact.network.latent_mean.device
        self._precision = precision
        self._program: Any = artifact.scripted or artifact.network
        if artifact.scripted is None and PackedNetwork.is_available(artifact.network, precision):
            self._program = PackedNetwork(artifact.network, precision)
        elif precision != "float32":
            raise SFHCNNError(f"precision={precision!r} is not to be had on this machine or device; take 'float32'")

    def __reduce__(self):
        """On its way to another process it is the network alone; programs and packed weights stay where they are."""
        return type(self), (self._artifact, self._precision)

    @classmethod
    def pretrained(
        cls, name: str | None = None, device: str | None = None, precision: str | None = None
    ) -> SFHPredictor:
        """A network that ships with the package; see `available`.

        Parameters
        ----------
        name : str, optional
            Name of the network; by default that of ``sfh_cnn.conf``, else the first of `available`.
        device : str, optional
            Torch device, e.g. ``"cuda"``; by default that of ``sfh_cnn.conf``.
        precision : {"float32", "bfloat16"}, optional
            Number format of the network's large products; by default that of ``sfh_cnn.conf``. On processors with
            AVX512-BF16, bfloat16 halves their time and moves answers by 2 to 6 hundredths of their errors (rms).

        Returns
        -------
        SFHPredictor

        Raises
        ------
        SFHCNNError
            If there is no network of that name, or the machine does not have the precision.
        NetworkFileError
            If the installed file is not the released one.
        """
        path, sha256 = released_network(name or conf.network)
        artifact = _load(path, device)
        if artifact.sha256 != sha256:
            raise NetworkFileError(f"{path} is not the network that was released (its SHA-256 differs); reinstall")
        return cls(artifact, precision or conf.precision)

    @classmethod
    def from_file(cls, path: str | Path, device: str | None = None, precision: str | None = None) -> SFHPredictor:
        """A network from a file that ``sfh-cnn release`` wrote; no code in the file is run.

        Parameters
        ----------
        path : str or `pathlib.Path`
        device : str, optional
            Torch device; by default that of ``sfh_cnn.conf``.
        precision : {"float32", "bfloat16"}, optional
            As in `pretrained`.

        Returns
        -------
        SFHPredictor

        Raises
        ------
        NetworkFileError
            If the file is damaged, foreign or of another format version.
        SFHCNNError
            If the machine does not have the precision.
        """
        return cls(_load(path, device), precision or conf.precision)

    @staticmethod
    def available() -> dict[str, str]:
        """Released networks in this installation: name to one-line summary, default first."""
        return available()

    def attach(self, result: SFHResult) -> SFHResult:
        """Give a result that was read from a file its network back, for draws and reconstructions.

        Parameters
        ----------
        result : `~sfh_cnn.results.SFHResult`

        Returns
        -------
        SFHResult
            The same object.

        Raises
        ------
        SFHCNNError
            If the result came from another network, or is a stack or on other age bins: the network cannot draw
            from those, and they store their draws.
        """
        made_by = result.meta.get("network_sha256")
        if made_by != self.sha256:
            raise SFHCNNError(
                f"this result came from network {result.contract.name!r} ({made_by}), not from "
                f"{self.contract.name!r} ({self.sha256})"
            )
        stacked = "n_stacked" in result.meta
        if stacked or result.contract.age_edges_yr != self.contract.age_edges_yr:
            raise SFHCNNError(
                f"this result {'is a stack' if stacked else 'was put on other age bins'}, and the network cannot draw "
                "from it; use it without the network, with the draws it stores"
            )
        result.engine = self.engine
        return result

    def predict(
        self,
        spectrum: Spectrum | Iterable[Spectrum],
        photometry: QTable | dict[str, Any] | None = None,
        redshift: ArrayLike | None = None,
        distance: u.Quantity | Cosmology | None = None,
        ebv: ArrayLike | None = None,
        calibration_error: ArrayLike = 0.01,
        refine: bool = False,
        *,
        uncertainty: Any = None,
        mask: Any = None,
        medium: str | None = None,
        line_mask: u.Quantity | None = None,
        keep_spectra: bool | None = None,
        batch_size: int | None = None,
        progress_bar: bool | None = None,
        libraries: dict[str, Any] | None = None,
    ) -> SFHResult:
        """Predict histories.

        Parameters
        ----------
        spectrum : `~specutils.Spectrum` or list of them, `~specutils.SpectrumList`
            One spectrum, or many as (n_spec, n_wave). See `sfh_cnn.spectra.read_spectra` for what is accepted.
        photometry : `~astropy.table.QTable` or dict, optional
            Band fluxes through the same aperture as the spectrum: columns ``F275W``, ``F275W_err``, ... with
            units, or band to Quantity or to (flux, error). Bands may be missing.
        redshift : float or array, shape (n_spec,), optional
            By default the spectrum's own.
        distance : `~astropy.units.Quantity` or `~astropy.cosmology.Cosmology`, optional
            For masses: a length, or a cosmology to turn the redshift into a luminosity distance.
        ebv : float or array, shape (n_spec,), optional
            Galactic foreground E(B-V) in mag to remove from spectrum and bands (R_V = 3.1).
        calibration_error : float or array, shape (n_spec,), optional
            Rms of smooth, fractional mismatch between data and models that the answer allows for: 0 for
            mocks, 0.01 for well-calibrated data, 0.03 for poor flux calibration.
        refine : bool, optional
            Replace the network's posterior by draws from the exact posterior under the same prior, with the
            likelihood of the forward model itself: seconds per spectrum, and the stellar libraries that the network
            was trained with must be installed. Results then have an ``effective_sample_size``.
        uncertainty, mask, medium : optional
            Replace what the spectrum says; see `sfh_cnn.spectra.read_spectra`.
        line_mask : `~astropy.units.Quantity`, optional
            Mask the emission lines by this half width, a velocity such as ``400 * u.km / u.s``. The networks
            are trained with lines left in, but bright ones are better masked.
        keep_spectra : bool, optional
            Keep what was fitted, 14 kB per spectrum, for plots and `SFHResult.reconstruct`; by default of up to 10 000
            spectra.
        batch_size : int, optional
            Spectra at a time, by default that of ``sfh_cnn.conf``; the answer does not depend on it.
        progress_bar : bool, optional
            Show a progress bar; by default on a terminal, for more than 10 000 spectra.
        libraries : dict, optional
            For ``refine``: where stellar libraries lie that are not found by their name, name to path.

        Returns
        -------
        `~sfh_cnn.results.SFHResult`

        Raises
        ------
        CoverageError
            If no spectrum shares enough wavelengths with the network.
        SFHCNNError
            If an argument is missing or has the wrong shape or value.
        astropy.units.UnitsError
            If a unit is missing or cannot be converted.
        """
        refiner = Refiner(self.contract, libraries) if refine else None  # a missing library is said at once
        if batch_size is not None and not (isinstance(batch_size, numbers.Integral) and batch_size >= 1):
            raise SFHCNNError(f"batch_size must be a positive whole number, got {batch_size!r}")
        spectra = open_spectra(spectrum, uncertainty=uncertainty, mask=mask, redshift=redshift, medium=medium)
        n_spec = len(spectra)
        redshift = spectra.redshift
        flags = np.zeros(n_spec, dtype=np.int32)
        calibration = self._calibration_error(calibration_error, n_spec, flags)
        if spectra.relative and photometry is not None:
            raise SFHCNNError(
                "photometry was given, but the flux of the spectrum has no unit: the two cannot be compared; give the "
                "spectrum as a flux density, or leave the photometry out"
            )
        band_flux, band_flux_err, bad_band = read_photometry(photometry, self.contract.bands, n_spec)
        flags[bad_band] |= Flag.BAD_BAND

        if ebv is not None:
            ebv = _per_spectrum(ebv, n_spec, "ebv")
            pivots = np.array(self.contract.band_pivots_aa)
            band_flux, band_flux_err = (deredden(values, pivots, ebv) for values in (band_flux, band_flux_err))
        lines = None if line_mask is None else self._near_lines(line_mask)

        if keep_spectra is None:
            keep_spectra = n_spec <= _MANY
        blocks = InputBlocks(
            self.contract,
            spectra,
            (band_flux, band_flux_err),
            calibration,
            ebv,
            lines,
            flags,
            keep_spectra or refine,
            batch_size or conf.batch_size,
        )
        shown = n_spec > _MANY if progress_bar is None else progress_bar
        with progress(n_spec, "predicting", enabled=None if shown else False) as advance:
            out = run_network(self._program, self._device, blocks, self.engine.compare, n_spec, advance)
        good = (flags & (Flag.NO_DATA | Flag.FEW_PIXELS)) == 0
        if not good.any():
            self._raise_if_no_overlap(spectra)
        arrays = self._arrays(out)
        arrays |= {
            "flags": flags,
            "snr": blocks.snr,
            "redshift": redshift,
            "calibration_error": calibration,
            "distance_mpc": _distance_mpc(distance, redshift, spectra.relative),
            "reduced_chi2": out["reduced_chi2"].astype(float),
            "v_flux": out["v_flux"] * blocks.unit,
        }
        flags[good & (arrays["unusualness"] > 1)] |= Flag.UNUSUAL_SPECTRUM
        limit = chi2_limit(self.contract, arrays["snr"], calibration)
        flags[good & (arrays["reduced_chi2"] > limit)] |= Flag.POOR_RECONSTRUCTION
        limit = band_limit(self.contract, arrays["snr"], calibration)
        flags[good & (out["band_mismatch"] > limit)] |= Flag.BANDS_DISAGREE
        doubtful = doubtful_velocity(
            self.contract, arrays["q_velocity"], arrays["snr"], calibration, blocks.valid_share
        )
        flags[good & doubtful] |= Flag.REDSHIFT_DOUBTFUL
        kept = None
        if keep_spectra or refine:
            kept = {
                "wave_aa": self.contract.wavelength_grid.wave_aa,
                **blocks.kept,
                "band_flux": band_flux,
                "band_flux_err": band_flux_err,
            }
        result = SFHResult(
            self.contract, arrays, meta=self._meta(spectra), spectra=kept, engine=self.engine, scalar=spectra.scalar
        )
        if refiner is not None:
            result = refiner.refine(result, progress_bar=progress_bar)
            result.spectra = result.spectra if keep_spectra else None
        return result

    def predict_cube(
        self,
        cube: Any,
        variance: Any = None,
        images: dict[str, Any] | None = None,
        velocity: u.Quantity | str | None = None,
        bins: np.ndarray | str | None = None,
        *,
        redshift: float | None = None,
        distance: u.Quantity | Cosmology | None = None,
        ebv: float | None = None,
        calibration_error: float = 0.01,
        mask: np.ndarray | None = None,
        medium: str | None = None,
        line_mask: u.Quantity | None = None,
        target_snr: float | None = None,
        binning: str = "accretion",
        snr_cut: float | None = None,
        noise_correlation: float | Callable[[np.ndarray], np.ndarray] = 1.0,
        output: str | Path | None = None,
        overwrite: bool = False,
        progress_bar: bool | None = None,
        scheduler: Any = None,
    ) -> SFHMaps:
        """Predict the histories of a cube, as maps.

        The cube is read in stripes of rows, each once: under 2 GB of memory are enough for a cube of any size, if it
        is in a file (or mapped, or dask) and ``output`` is given.

        Parameters
        ----------
        cube : str, `~pathlib.Path`, SpectralCube, `~specutils.Spectrum` or tuple
            A FITS file of MUSE, PHANGS-MUSE, MaNGA (LOGCUBE) or CALIFA, or an object; see
            `sfh_cnn.spectra.open_cube`.
        variance : optional
            Replaces that of the cube; see `sfh_cnn.spectra.open_cube`.
        images : dict, optional
            From band name to a pair of Quantities (n_y, n_x), flux density per spaxel and its error, on the pixels of
            the cube and at its resolution, NaN where there is none; `sfh_cnn.photometry.match_images` makes them.
        velocity : `~astropy.units.Quantity`, shape (n_y, n_x), or str, optional
            Stellar velocities relative to ``redshift``, or a file that has them: MAPS of PHANGS-MUSE or MaNGA.
            Spaxels without a velocity are left out.
        bins : ndarray of int, shape (n_y, n_x), or str, optional
            Number of the bin of each spaxel, negative for none, or a file that has it: MAPS of PHANGS-MUSE or MaNGA,
            a table of nGIST, an image. By default every spaxel is predicted on its own.
        redshift : float, optional
            Of the galaxy; by default the cube's own.
        distance, ebv, calibration_error : optional
            As in `predict`.
        mask : ndarray of bool, shape (n_wave, n_y, n_x), optional
            True marks bad pixels; replaces that of the cube.
        medium, line_mask : optional
            As in `predict`.
        target_snr : float, optional
            Make bins of this S/N per pixel (mean signal over rms error at 5300-5500 Angstrom, observed).
        binning : {"accretion", "voronoi", "power"}, optional
            How to make them: the package's own way, or, if installed, vorbin or powerbin.
        snr_cut : float, optional
            Spaxels with a lower S/N per pixel of the cube are left out, before binning too. By default the lowest S/N
            that the network was trained for, and 0 with ``target_snr``. Without effect on given bins.
        noise_correlation : float or callable, optional
            Factor by which the error of a bin of more than one spaxel exceeds that of independent spaxels, since
            resampling correlates neighbours; or a function of the number of spaxels, such as ``lambda n: 1 + 1.62 *
            np.log10(n)`` for MaNGA (Law et al. 2016, AJ 152, 83).
        output : str or `~pathlib.Path`, optional
            FITS file to write. Blocks that are done wait in a folder beside it (``<output>.parts``): after a stop or
            crash the same call goes on where it was, with the same outcome.
        overwrite : bool, optional
            Replace the output, and blocks of another run.
        progress_bar : bool, optional
            By default on a terminal.
        scheduler : str, ``distributed.Client`` or cluster, optional
            Dask cluster whose workers do the blocks: the address of its scheduler (``"tcp://..."``), or an object.
            They must see the files of the cube, and need 1 GB for each of their threads. The maps are the same.

        Returns
        -------
        `~sfh_cnn.results.SFHMaps`
            With the celestial WCS of the cube. NaN and the flag NO_DATA where a spaxel is left out.

        Raises
        ------
        FileExistsError
            If ``output`` exists and ``overwrite`` is False.
        CoverageError
            If the cube shares too little wavelength range with the network.
        SFHCNNError
            If an argument is missing or does not fit the cube, or no spaxel is left.
        """
        options = {"distance": distance, "ebv": ebv, "calibration_error": calibration_error, "line_mask": line_mask}
        source = open_cube(cube, variance, mask)
        return predict_cube(
            self,
            source,
            images=images,
            velocity=velocity,
            bins=bins,
            redshift=redshift,
            options={**options, "medium": medium or source.medium},
            target_snr=target_snr,
            binning=binning,
            snr_cut=snr_cut,
            noise_correlation=noise_correlation,
            output=output,
            overwrite=overwrite,
            progress_bar=progress_bar,
            scheduler=scheduler,
        )

    # ---- pieces of predict -------------------------------------------------------------------------------------

    def _calibration_error(self, value, n_spec, flags):
        """One calibration error per spectrum, inside the trained range."""
        value = _per_spectrum(value, n_spec, "calibration_error")
        if not np.all((value >= 0) & (value < 1)):
            raise SFHCNNError(
                f"calibration_error is a fraction between 0 and 1, got {value.min():g} to {value.max():g}"
            )
        low, high = self.contract.domain["calibration_error"]
        flags[value > high] |= Flag.CALIBRATION_OUTSIDE
        return np.clip(value, low, high)

    def _near_lines(self, half_width):
        """Pixels within a half width (a velocity) of an emission line, (n_wave,)."""
        value = np.asarray(to_plain(half_width, u.km / u.s, "line_mask"))
        if value.ndim or not 0 <= value < np.inf:
            raise SFHCNNError(f"line_mask must be one velocity, finite and not negative, got {half_width}")
        return near_lines(self.contract.wavelength_grid.wave_aa, float(value))

    def _raise_if_no_overlap(self, spectra):
        """An input that can never give a number is an error, not a row of NaN."""
        known = np.isfinite(spectra.redshift)
        if not known.any():
            return
        ends = np.broadcast_to(np.asarray(spectra.wave_aa)[..., [0, -1]], (len(known), 2))
        rest = ends[known] / (1 + spectra.redshift[known][:, None])
        grid = self.contract.wavelength_grid
        low, high = grid.edges_aa[[0, -1]]
        need = 0.8 * self.contract.domain["min_coverage"] * (high - low)
        overlap = np.minimum(rest[:, 1], high) - np.maximum(rest[:, 0], low)
        if overlap.max() < need:
            raise CoverageError(
                f"the spectrum covers {rest[0, 0]:.0f}-{rest[0, 1]:.0f} Angstrom in the rest frame; network "
                f"{self.contract.name!r} covers {low:.0f}-{high:.0f} and needs at least {need:.0f} Angstrom of it"
            )

    def _arrays(self, out):
        """The network's output under the names of `SFHResult`."""
        fractions = out["fraction_quantiles"]
        metallicity = out["metallicity_quantiles"]
        arrays = {
            "mass_fraction": out["mass_fraction"],
            "light_fraction": out["light_fraction"],
            "q_mass_fraction": fractions[:, 0],
            "q_light_fraction": fractions[:, 1],
            "q_metallicity": metallicity,
            "latent": out["latent"],
            "unusualness": out["unusualness"],
        }
        for i, name in enumerate(SCALAR_NAMES):
            arrays[f"q_{name}"] = out["scalar_quantiles"][:, i]
        for name in ("q_a_v", "q_velocity_dispersion"):  # an attenuation or a width is not negative
            arrays[name] = np.maximum(arrays[name], 0.0)
        median = metallicity[..., metallicity.shape[-1] // 2]
        arrays["surviving_fraction"] = self.engine.surviving_fraction(np.nan_to_num(median))
        arrays["surviving_fraction"][~np.isfinite(median)] = np.nan
        return arrays

    def _meta(self, spectra):
        from sfh_cnn import __version__

        return {
            "package_version": __version__,
            "network": self.contract.name,
            "network_sha256": self.sha256,
            "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "wavelength_medium": spectra.medium,
            "flux_per": spectra.per,
            "flux_is_relative": bool(spectra.relative),
        }

    def __repr__(self):
        return f"<SFHPredictor: {self.contract.name}, {self.contract.n_age} age bins, bands {self.contract.bands}>"


def _load(path, device):
    """A network on the device, and with the threads, that the user's settings say."""
    if conf.threads:
        torch.set_num_threads(conf.threads)
    return load_artifact(path, device=device or conf.device)


def _per_spectrum(value, n_spec, name):
    """A number or one per spectrum, as an array (n_spec,)."""
    if hasattr(value, "unit"):
        value = to_plain(value, u.dimensionless_unscaled if value.unit != u.mag else u.mag, name)
    try:
        value = np.asarray(value, dtype=float)
    except (TypeError, ValueError) as err:
        raise SFHCNNError(f"{name} needs one number or {n_spec}, one per spectrum; got {value!r}") from err
    if value.shape not in ((), (1,), (n_spec,)):
        raise SFHCNNError(f"{name} needs one value or {n_spec}, one per spectrum; got shape {value.shape}")
    return np.broadcast_to(value, (n_spec,)).copy()


def _distance_mpc(distance, redshift, relative):
    """Luminosity distances in Mpc; NaN without one."""
    if distance is None:
        return np.full(len(redshift), np.nan)
    if relative:
        raise SFHCNNError("distance was given, but the flux has no unit: masses need a flux density")
    if hasattr(distance, "luminosity_distance"):
        usable = np.isfinite(redshift) & (redshift > 0)
        value = np.full(len(redshift), np.nan)
        if usable.any():
            value[usable] = distance.luminosity_distance(redshift[usable]).to_value(u.Mpc)
        return value
    value = _per_spectrum(to_plain(distance, u.Mpc, "distance"), len(redshift), "distance")
    if not np.all(value > 0):
        raise ContractError(f"distance must be positive, got {value.min():g} Mpc")
    return value
