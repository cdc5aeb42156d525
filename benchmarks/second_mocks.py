"""Accuracy of the released networks on the mock galaxies of a second author.

Usage:
    python benchmarks/second_mocks.py                                 all released networks, a few minutes
    python benchmarks/second_mocks.py --networks phangs-muse-hst mine.pt --n 4000
    python benchmarks/second_mocks.py --write docs/user_guide         the table of the documentation

Whoever wrote these mocks and their priors had seen a description of the package's own, not its synthesis. Ten families
of histories in 191 cells of lookback time, each with its own [M/H] after one of five kinds of enrichment; two dust
laws; redshift 0-0.02, A_V 0-2, dispersion 0-250 km/s, S/N 10-100 per 1.25 Angstrom, five bands with errors of 2-10 per
cent. *Local discs* are old, smooth and near solar: A_V 0-1.5, S/N 15-50. One thread.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from accuracy import LOCAL, answers_of, load, predict, score
from astropy.table import Table
from independent_mocks import BANDS, C_KMS, EDGES_YR, WAVE_AA, calzetti, read_bc03
from scipy.interpolate import CubicSpline
from scipy.special import erf
from threadpoolctl import threadpool_limits

from sfh_cnn import SFHPredictor

GYR = 1e9
FAMILIES = (
    "delayed", "declining", "rising", "constant", "quenched", "burst on old", "double peak", "stochastic", "Dirichlet",
    "single burst",
)  # fmt: skip
FAMILY_SHARES = np.array([1, 0.5, 0.5, 1, 1, 1, 1, 1, 1, 1]) / 9
LOCAL_FAMILIES = ("delayed", "constant", "declining", "rising", "wavy")
ENRICHMENTS = ("closed box", "leaky box", "linear", "flat", "scatter")
#: What the networks see, at rest.
WAVE_RANGE_AA = (4750.0, 8750.0)

#: Cells of lookback time: 41 in the first bin, 10 in each other.
EDGES = np.concatenate(
    [[0.0], np.geomspace(1e5, 1e7, 41), *[np.geomspace(*EDGES_YR[i : i + 2], 11)[1:] for i in range(1, 16)]]
)
WIDTH = np.diff(EDGES)
AGE = 0.5 * (EDGES[1:] + EDGES[:-1])
LOG_AGE = np.log10(np.maximum(AGE, 1e6))
BIN_OF = np.searchsorted(EDGES_YR, AGE) - 1
V_WINDOW_AA = (5070.0, 5950.0)
#: Pixels, at rest, on which spectra are blurred.
STEP_AA = 0.625
REST_AA = np.arange(4560.0, 8960.0, STEP_AA)


def to_air(vacuum_aa):
    """Air wavelengths (Morton 2000)."""
    s = (1e4 / vacuum_aa) ** 2
    return vacuum_aa / (1 + 8.34254e-5 + 2.406147e-2 / (130 - s) + 1.5998e-4 / (38.9 - s))


def to_vacuum(air_aa):
    """Vacuum wavelengths: the inverse of `to_air`, by iteration."""
    vacuum = air_aa * 1.00028
    for _ in range(4):
        vacuum = vacuum * air_aa / to_air(vacuum)
    return vacuum


# --- histories: masses and [M/H] of the cells of lookback time -----------------------------------------------------


def _power(rng, low, high):
    return 10 ** rng.uniform(low, high)


def _gaussian_process(rng, x, length, rough=False):
    """A random curve of unit variance, smooth (squared exponential) or rough (Ornstein-Uhlenbeck)."""
    distance = np.abs(x[:, None] - x) / length
    covariance = np.exp(-distance) if rough else np.exp(-0.5 * distance**2)
    return np.linalg.cholesky(covariance + 1e-6 * np.eye(len(x))) @ rng.standard_normal(len(x))


def _burst(time, width):
    """A Gaussian in lookback time; a single cell where it is narrower than that."""
    mass = np.exp(-0.5 * ((AGE - time) / width) ** 2) * WIDTH
    if mass.sum() <= 0:
        mass[np.argmin(np.abs(AGE - time))] = 1.0
    return mass / mass.sum()


def _log_peak(log_time, width_dex):
    mass = np.exp(-0.5 * ((np.log10(np.maximum(AGE, 1e4)) - log_time) / width_dex) ** 2) / AGE * WIDTH
    return mass / mass.sum()


def _mass(rate, start):
    """Masses of star formation at a given rate since ``start``, in sum 1."""
    mass = rate * np.clip((start - EDGES[:-1]) / WIDTH, 0, 1) * WIDTH
    return mass / mass.sum()


def broad_history(rng, family):
    """Masses of a galaxy of any kind."""
    if family == "double peak":
        share = rng.uniform(0.1, 0.9)
        old = _log_peak(rng.uniform(9.6, 10.1), rng.uniform(0.04, 0.2))
        return share * old + (1 - share) * _log_peak(rng.uniform(7.5, 9.5), rng.uniform(0.05, 0.3))
    if family == "Dirichlet":
        share = rng.dirichlet(np.full(16, _power(rng, -0.5, 0.3)))
        return share[BIN_OF] * WIDTH / np.diff(EDGES_YR)[BIN_OF]
    if family == "single burst":
        time = _power(rng, 6.3, 10.1)
        return _burst(time, _power(rng, -2, -0.7) * time)
    if family == "constant":
        return _mass(np.ones_like(AGE), _power(rng, 8.5, 10.14))

    youngest_start = {"burst on old": 6, "stochastic": 3}.get(family, 1)
    start = rng.uniform(youngest_start, 13.8) * GYR
    tau = _power(rng, *{"burst on old": (-1, 0.6), "stochastic": (0, 1.3)}.get(family, (-1, 1))) * GYR
    since = np.maximum(start - AGE, 0)
    delayed = since * np.exp(-since / tau)
    if family == "delayed":
        return _mass(delayed, start)
    if family == "declining":
        return _mass(np.exp(-since / tau), start)
    if family == "rising":
        if rng.random() < 0.5:
            return _mass(np.exp(np.minimum(since / (_power(rng, -0.3, 1) * GYR), 60)), start)
        return _mass(since ** rng.uniform(0.5, 3), start)
    flat_share = {"burst on old": 0.3, "quenched": 0.5, "stochastic": 0.5}[family]
    rate = np.ones_like(AGE) if rng.random() < flat_share else delayed
    if family == "quenched":
        end = min(_power(rng, 7.5, 9.9), 0.9 * start)
        fading = np.exp(-np.maximum(end - AGE, 0) / (_power(rng, -1.5, 0) * GYR))
        return _mass(rate * fading, start)
    if family == "burst on old":
        time = _power(rng, 6.7, 9.5)
        burst, share = _burst(time, _power(rng, -1.3, -0.3) * time), _power(rng, -2.5, -0.3)
        return (1 - share) * _mass(rate, start) + share * burst
    wiggles = _gaussian_process(rng, LOG_AGE, rng.uniform(0.15, 0.8), rough=rng.random() < 0.5)
    return _mass(rate * 10 ** (rng.uniform(0.2, 1.0) * wiggles), start)


def local_history(rng, family):
    """Masses of a disc that has formed stars for 10 to 13.5 Gyr."""
    start = rng.uniform(10, 13.5) * GYR
    since = np.maximum(start - AGE, 0)
    low, high = {"delayed": (1.5, 8), "declining": (3, 12), "rising": (6, 20)}.get(family, (3, 10))
    tau = rng.uniform(low, high) * GYR
    rates = {"constant": np.ones_like(AGE), "rising": np.exp(since / tau), "declining": np.exp(-since / tau)}
    rate = rates.get(family, since * np.exp(-since / tau))
    if family == "wavy":
        rate *= 10 ** (rng.uniform(0.1, 0.3) * _gaussian_process(rng, AGE / GYR, rng.uniform(1.5, 4)))
    return _mass(rate, start)


def enrich(rng, kind, mass, local=False):
    """[M/H] of the cells; discs are near solar today, others anywhere."""
    if kind == "scatter":
        other = "linear" if local else rng.choice(ENRICHMENTS[:4])
        size, length = (0.05, 0.5) if local else (rng.uniform(0.05, 0.25), rng.uniform(0.1, 0.4))
        scattered = enrich(rng, other, mass, local) + size * _gaussian_process(rng, LOG_AGE, length)
        return np.clip(scattered, -2, 0.4)
    formed = np.cumsum(mass[::-1])[::-1] - 0.5 * mass  # share of the mass that is older
    final = rng.normal(0, 0.12) if local else rng.uniform(-1.2, 0.4)
    if kind == "closed box":
        gas = rng.uniform(*((0.1, 0.4) if local else (0.02, 0.6)))
        metals = np.log(1 - (1 - gas) * formed) / np.log(gas)
        found = np.log10(10**final * metals + (0.05 if local else _power(rng, -2, -1.3)))
    elif kind == "leaky box":
        speed = rng.uniform(*((2, 6) if local else (1, 8)))
        metals = (1 - np.exp(-speed * formed)) / (1 - np.exp(-speed))
        found = np.log10(10**final * metals + (0.05 if local else _power(rng, -2, -1)))
    elif kind == "flat":
        found = np.full(len(AGE), final - rng.uniform(0, 0.1) if local else rng.uniform(-1.8, 0.4))
    elif local:
        found = final - rng.uniform(0.02, 0.06) * AGE / GYR
    else:
        found = final - rng.uniform(-0.15, 0.6) * (np.log10(np.maximum(AGE, 1e7)) - 8.5)
    return np.clip(found, -2, 0.4)


# --- spectra -------------------------------------------------------------------------------------------------------


class SecondMocks:
    """Mock galaxies of the BC03 library with MILES stars."""

    def __init__(self):
        library = read_bc03()
        reached = (library.wave_aa > 1900) & (library.wave_aa < 11000)
        self.wave_aa, self.nodes = library.wave_aa[reached], library.metallicity_dex
        log_age = np.log10(library.age_yr)
        share = np.zeros((len(AGE), len(log_age)))
        for part in (np.arange(6) + 0.5) / 6:  # constant star formation in a cell, spectra linear in log age
            x = np.log10(np.maximum(EDGES[:-1] + part * WIDTH, 1e5))
            j = np.clip(np.searchsorted(log_age, x, side="right") - 1, 0, len(log_age) - 2)
            upper = (x - log_age[j]) / (log_age[j + 1] - log_age[j])
            np.add.at(share, (np.arange(len(AGE)), j), (1 - upper) / 6)
            np.add.at(share, (np.arange(len(AGE)), j + 1), upper / 6)
        self.cells = np.einsum("ca,maw->cmw", share, library.flux[..., reached], optimize=True).astype(np.float32)
        window = (self.wave_aa >= V_WINDOW_AA[0]) & (self.wave_aa <= V_WINDOW_AA[1])
        self.v_light = np.trapezoid(self.cells[..., window], self.wave_aa[window], axis=-1)
        curves = Table.read(Path(__file__).parents[1] / "sfh_cnn" / "data" / "filters_wfc3_uvis.ecsv")
        self.curves = [curves[curves["band"] == name] for name in BANDS]

    def make(self, rng, n, local=False):
        """Noise-free mocks in units of their medians, and the truth; flux is 0 where the library ends."""
        families, history = (LOCAL_FAMILIES, local_history) if local else (FAMILIES, broad_history)
        if local:
            family, a_v, clouds = rng.integers(len(families), size=n), rng.uniform(0, 1.5, n), rng.uniform(0.3, 2, n)
            snr, redshift, sigma_kms = rng.uniform(15, 50, n), rng.uniform(0, 0.01, n), rng.uniform(20, 150, n)
        else:
            family, a_v = rng.choice(len(families), n, p=FAMILY_SHARES), rng.uniform(0, 2, n)
            clouds, snr = rng.uniform(0.3, 3, n), 10 ** rng.uniform(1, 2, n)
            redshift, sigma_kms = rng.uniform(0, 0.02, n), rng.uniform(0, 250, n)
        enrichment = rng.integers(len(ENRICHMENTS), size=n)
        two_laws = rng.random(n) < 0.5
        flux, bands, truth = np.empty((n, len(WAVE_AA))), np.empty((n, len(BANDS))), []
        for i in range(n):
            mass = history(rng, families[family[i]])
            metallicity = enrich(rng, ENRICHMENTS[enrichment[i]], mass, local)
            weights = self._weights(mass, metallicity)
            truth.append(_truth(mass, (weights * self.v_light).sum(axis=1), metallicity))
            spectrum = self._dusty(weights, a_v[i], a_v[i] * clouds[i] if two_laws[i] else None)
            flux[i] = self._spectrum(spectrum, redshift[i], sigma_kms[i])
            bands[i] = self._bands(spectrum, redshift[i])
        level = np.array([np.median(one[seen]) for one, seen in zip(flux, _seen(redshift), strict=True)])[:, None]
        mocks = {"redshift": redshift, "snr": snr, "family": family, "enrichment": enrichment}
        mocks |= {name: np.array([one[name] for one in truth]) for name in truth[0]}
        return mocks | {"flux": flux / level, "band_flux": bands / level}

    def _weights(self, mass, metallicity):
        """Mass of each cell at each [M/H] of the library, (n_cell, n_node)."""
        lower = np.clip(np.searchsorted(self.nodes, metallicity, side="right") - 1, 0, len(self.nodes) - 2)
        part = (metallicity - self.nodes[lower]) / (self.nodes[lower + 1] - self.nodes[lower])
        weights, cell = np.zeros((len(mass), len(self.nodes)), dtype=np.float32), np.arange(len(mass))
        weights[cell, lower], weights[cell, lower + 1] = mass * (1 - part), mass * part
        return weights

    def _dusty(self, weights, a_v, a_v_clouds):
        """Dust of Calzetti, or power laws with clouds around the stars younger than 10 Myr."""
        n_young = np.searchsorted(AGE, 1e7)
        young = np.tensordot(weights[:n_young], self.cells[:n_young], 2).astype(float)
        old = np.tensordot(weights[n_young:], self.cells[n_young:], 2).astype(float)
        if a_v_clouds is None:
            return (young + old) * 10 ** (-0.4 * a_v * calzetti(self.wave_aa))
        x = self.wave_aa / 5500.0
        return (old + young * 10 ** (-0.4 * a_v_clouds * x**-1.3)) * 10 ** (-0.4 * a_v * x**-0.7)

    def _spectrum(self, spectrum, redshift, sigma_kms):
        """Blurred by the stars and by MUSE (Bacon et al. 2017), at the observed pixels."""
        near = (self.wave_aa > 4500) & (self.wave_aa < 9100)
        sharp = CubicSpline(self.wave_aa[near], spectrum[near])(REST_AA)
        observed = REST_AA * (1 + redshift)
        muse = (5.866e-8 * observed**2 - 9.187e-4 * observed + 6.040) / (1 + redshift)
        own = np.where(REST_AA < 7350, 2.5, 3.0)
        variance = np.maximum(muse**2 - own**2, 0) / 2.3548**2 + (REST_AA * sigma_kms / C_KMS) ** 2
        width = np.maximum(np.sqrt(2 * variance) / STEP_AA, 1e-3)
        inner = erf(0.5 / width)
        blurred, total = inner * sharp, inner.copy()
        for k in range(1, int(np.ceil(4 * width.max() / np.sqrt(2))) + 2):
            outer = erf((k + 0.5) / width)
            blurred += 0.5 * (outer - inner) * (np.roll(sharp, k) + np.roll(sharp, -k))
            total += outer - inner
            inner = outer
        at = to_air(to_vacuum(WAVE_AA) / (1 + redshift))
        return np.where(at < REST_AA[-1] - 30, CubicSpline(REST_AA, blurred / total)(at), 0.0)

    def _bands(self, spectrum, redshift):
        """Photon-counting means of the flux density."""
        observed, means = to_vacuum(self.wave_aa) * (1 + redshift), []
        for curve in self.curves:
            fine = np.arange(curve["wave"][0], curve["wave"][-1], 1.0)
            photons = np.interp(fine, curve["wave"], curve["throughput"]) * fine
            means.append(np.sum(np.interp(fine, observed, spectrum) * photons) / photons.sum())
        return means


def _truth(mass, light, metallicity):
    """Fractions in the bins and the four means; ages with constant star formation inside a bin, [M/H] exactly."""
    light = light / light.sum()
    integral = EDGES_YR * (np.log10(np.maximum(EDGES_YR, 1)) - 1 / np.log(10))
    log_age = np.diff(integral) / np.diff(EDGES_YR)
    mass_fraction = np.bincount(BIN_OF, mass, 16)
    return {
        "mass_fraction": mass_fraction,
        "mass_weighted_log_age": mass_fraction @ log_age,
        "light_weighted_log_age": np.bincount(BIN_OF, light, 16) @ log_age,
        "mass_weighted_metallicity": mass @ metallicity,
        "light_weighted_metallicity": light @ metallicity,
    }


# --- observations --------------------------------------------------------------------------------------------------


def _seen(redshift):
    rest = WAVE_AA / (1 + redshift[:, None])
    return (rest > WAVE_RANGE_AA[0]) & (rest < WAVE_RANGE_AA[1])


def smooth_errors(rng, seen, rms):
    """A factor around 1 of unknown shape: 25 sines, half waves of 30 to 2000 Angstrom, sometimes bent as a whole."""
    half_wave = 10 ** rng.uniform(np.log10(30), np.log10(2000), 25)
    size = half_wave ** rng.uniform(-0.2, 0.4) * rng.standard_normal(25)
    phase = np.pi * WAVE_AA[:, None] / half_wave + rng.uniform(0, 2 * np.pi, 25)
    curve = np.sin(phase) @ size
    if rng.random() < 0.3:
        curve += 2 * np.abs(size).mean() * rng.standard_normal() * ((WAVE_AA - 7000) / 2000) ** 2
    curve -= curve[seen].mean()
    return 1 + rms * curve / curve[seen].std()


def observe(rng, mocks, smooth_rms=0.0):
    """Smooth errors, noise of stars and sky in any mixture, band errors."""
    flux, factor = mocks["flux"], np.ones_like(mocks["flux"])
    error = np.empty_like(flux)
    for i, seen in enumerate(_seen(mocks["redshift"])):
        if smooth_rms:
            factor[i] = smooth_errors(rng, seen, smooth_rms)
        sky = rng.uniform()
        variance = np.maximum((1 - sky) * flux[i] + sky * (1 + 0.4 * ((WAVE_AA - 7000) / 2500) ** 2), 0.02)
        error[i] = np.sqrt(variance / np.median(variance[seen])) / mocks["snr"][i]
    band_err = rng.uniform(0.02, 0.10, mocks["band_flux"].shape) * mocks["band_flux"]
    bands = mocks["band_flux"] + band_err * rng.standard_normal(band_err.shape)
    flux = flux * factor + error * rng.standard_normal(flux.shape)
    return mocks | {"flux": flux, "flux_err": error, "band_flux": bands, "band_flux_err": band_err}


def scenarios(n, seed):
    """Sets of mocks and how to ask: name to (mocks, options of `predict`)."""
    maker = SecondMocks()
    clean = maker.make(np.random.default_rng([seed, 0]), n)
    mocks = observe(np.random.default_rng([seed, 1]), clean)
    bent = observe(np.random.default_rng([seed, 2]), clean, smooth_rms=0.01)
    local = observe(np.random.default_rng([seed, 4]), maker.make(np.random.default_rng([seed, 3]), n, local=True))
    return {
        "all": (mocks, {}),
        "no bands": (mocks, {"bands": False}),
        "4800-7000 Å": (mocks, {"wave_range_aa": (4800.0, 7000.0)}),
        "below 6230 Å": (mocks, {"wave_range_aa": (4750.0, 6230.0)}),
        "smooth errors of 1 %": (bent, {"calibration_error": 0.01}),
        "local discs": (local, {}),
    }


def main():
    """Make mocks, ask the networks, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", help="names of released networks or files; by default all released")
    parser.add_argument("--n", type=int, default=2000, help="mocks in each set")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", type=Path, help="folder for the CSV file of the documentation")
    args = parser.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1)

    sets, rows, group_rows = scenarios(args.n, args.seed), [], []
    for predictor in map(load, args.networks or SFHPredictor.available()):
        network = predictor.contract.name
        for name, (mocks, options) in sets.items():
            if network == LOCAL and name != "local discs":
                continue  # its prior holds no other galaxies
            answers = answers_of(predict(predictor, mocks, **{"wave_range_aa": WAVE_RANGE_AA} | options))
            row = {"Network": network, "Mocks": name}
            rows.append(row | score(answers, mocks, slice(None)))
            groups = [("family", label, i) for i, label in enumerate(FAMILIES)] if name == "all" else []
            if name == "all" or network == LOCAL:
                groups += [("enrichment", label, i) for i, label in enumerate(ENRICHMENTS)]
            for key, label, i in groups:
                row = {"Network": network, "Mocks": label if name == "all" else f"{name}, {label}"}
                group_rows.append(row | score(answers, mocks, mocks[key] == i))
    table = Table(rows + group_rows)
    table.pprint_all()
    if args.write:
        table.write(args.write / "_second_mocks.csv", format="ascii.csv", overwrite=True)


if __name__ == "__main__":
    main()
