"""Do the flags warn? Shares of spectra that they mark: of galaxies like the mocks, and of what no network was taught.

Usage:
    python benchmarks/out_of_domain.py [--network NAME] [--n 500] [--emiles PATH] [--write docs/user_guide]

The first row are the networks' own kind of mocks, damaged in every way that they were taught: the false alarms. All
others come from `independent_mocks`, S/N 10-100 per pixel with five bands, asked with ``calibration_error=0.01``; then
each case does something to them. Where a truth is left, the table also says how wrong the answer is: a case that is not
marked but answered right does no harm.
"""

import argparse
import importlib.util
import os
from pathlib import Path

import numpy as np
import torch
from accuracy import load, mastar_of_mangadap, predict, predict_own
from astropy.io import fits
from astropy.table import Table
from independent_mocks import BANDS, C_KMS, WAVE_AA, MockMaker, observe, read_bc03, read_emiles, read_mastar
from scipy.constants import c, h, k
from threadpoolctl import threadpool_limits

from sfh_cnn import SFHPredictor
from sfh_cnn.core import Flag
from sfh_cnn.core.constants import SCALAR_NAMES
from sfh_cnn.ssp import SSPLibrary
from sfh_cnn.training import released_mocks

#: Flags that cast doubt on an answer; the others describe the input.
WARNINGS = Flag.UNUSUAL_SPECTRUM | Flag.POOR_RECONSTRUCTION | Flag.REDSHIFT_DOUBTFUL | Flag.BANDS_DISAGREE
REFUSALS = Flag.NO_DATA | Flag.FEW_PIXELS | Flag.SNR_OUTSIDE | Flag.NEGATIVE_FLUX | Flag.REDSHIFT_OUTSIDE
#: Emission lines of a star-forming region, rest frame, and their strength over H beta.
LINES = ((4861.3, 1.0), (4958.9, 1.0), (5006.8, 3.0), (5875.6, 0.1), (6300.3, 0.1), (6548.0, 0.3), (6562.8, 2.9),
         (6583.5, 0.9), (6716.4, 0.5), (6730.8, 0.4))  # fmt: skip


def with_power_law(mocks, share):
    """Add f ~ wavelength^-1.5, as of an active nucleus, so that it gives a share of the light at 5500 Angstrom."""
    rest = WAVE_AA / (1 + mocks["redshift"][:, None])
    level = np.array([np.interp(5500, wave, flux) for wave, flux in zip(rest, mocks["flux"], strict=True)])
    pivots = np.array([2708.0, 3354.0, 4326.0, 5308.0, 8059.0]) / (1 + mocks["redshift"][:, None])
    level = (level * share / (1 - share))[:, None]
    bands = mocks["band_flux"] + level * (pivots / 5500) ** -1.5
    return _rescaled(mocks, mocks["flux"] + level * (rest / 5500) ** -1.5, bands)


def with_lines(mocks, rng, width_kms, equivalent_width_aa, continuum=1.0):
    """Add emission lines; equivalent width of H beta in units of the continuum before it is dimmed."""
    flux = continuum * mocks["flux"]
    for centre, strength in LINES:
        observed = centre * (1 + mocks["redshift"][:, None])
        sigma = np.hypot(observed * width_kms / C_KMS, 1.1)
        profile = np.exp(-0.5 * ((WAVE_AA - observed) / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
        flux = flux + strength * equivalent_width_aa * rng.uniform(0.5, 2, (len(flux), 1)) * profile
    return {**mocks, "flux": flux}


def with_sky(mocks, rng, amplitude):
    """Residuals of badly subtracted sky lines: 150 lines redward of 6800 Angstrom, up and down."""
    centre = np.sort(rng.uniform(6800, 9350, 150))
    profile = np.exp(-0.5 * ((WAVE_AA - centre[:, None]) / 1.2) ** 2)
    residual = rng.standard_normal((len(mocks["flux"]), len(centre))) @ profile
    return {**mocks, "flux": mocks["flux"] + amplitude * residual}


def planck(mocks, rng):
    """Black bodies of 3500 to 30000 K instead of galaxies."""
    kelvin = np.exp(rng.uniform(np.log(3500), np.log(30000), (len(mocks["flux"]), 1)))
    metre = WAVE_AA * 1e-10
    return _rescaled(mocks, metre**-5 / np.expm1(h * c / (metre * k * kelvin)), np.nan * mocks["band_flux"])


def stars(mocks, rng):
    """Real stars: the templates of the MaNGA pipeline (MaStar), or None without sdss-mangadap."""
    spec = importlib.util.find_spec("mangadap")
    if spec is None:
        return None
    folder = Path(spec.submodule_search_locations[0]) / "data" / "spectral_templates" / "mastarhc_v2_noism"
    spectra = []
    for path in sorted(folder.glob("*.fits.gz")):
        with fits.open(path) as hdus:
            header, flux = hdus[0].header, hdus[0].data.astype(float)
        wave = 10 ** (header["CRVAL1"] + header["CDELT1"] * np.arange(len(flux))) / 1.00028
        spectra.append(flux)
    chosen = rng.integers(len(spectra), size=len(mocks["flux"]))
    rest = WAVE_AA / (1 + mocks["redshift"][:, None])
    flux = np.array([np.interp(at, wave, spectra[i]) for at, i in zip(rest, chosen, strict=True)])
    return _rescaled(mocks, flux, np.nan * mocks["band_flux"])


def _rescaled(mocks, flux, band_flux):
    level = np.median(flux, axis=1, keepdims=True)
    return {**mocks, "flux": flux / level, "band_flux": band_flux / level}


def smc(wave_aa):
    """A / A_V, nearly that of the Small Magellanic Cloud between 2500 and 10000 Angstrom: steep and without a bump."""
    return (wave_aa / 5500.0) ** -1.5


def grey(wave_aa):
    """A / A_V of a clumpy medium: nearly the same at all wavelengths."""
    return (wave_aa / 5500.0) ** -0.3


def cases(n, seed, emiles, mastar):
    """Name of each case, observed spectra, options of `predict`, and whether the truth still holds."""
    library = read_bc03()
    maker = MockMaker(library)
    rng = np.random.default_rng([seed, 10])
    clean = maker.make(rng, n)
    seen = observe(rng, clean)
    yield "like the mocks", seen, {}, True
    yield "the same, without bands", seen, {"bands": False}, True
    yield "smooth errors of 1 %", observe(rng, clean, smooth_rms=0.01), {}, True
    yield "smooth errors of 10 %", observe(rng, clean, smooth_rms=0.1), {}, True
    if emiles:
        yield "E-MILES", observe(rng, MockMaker(read_emiles(emiles)).make(rng, n)), {}, True
    if mastar:
        yield "MaStar", observe(rng, MockMaker(read_mastar(mastar, library)).make(rng, n)), {"bands": False}, True
    for name, law in {"SMC-like dust": smc, "grey dust": grey}.items():
        yield f"{name}, A_V 1-2", observe(rng, maker.make(rng, n, a_v_range=(1, 2), foreign_law=law)), {}, True
    yield "dispersion 400-600 km/s", observe(rng, maker.make(rng, n, sigma_range_kms=(400, 600))), {}, True
    for factor in (0.2, 0.5, 2.0, 5.0):
        yield f"error bars times {factor:g}", {**seen, "flux_err": seen["flux_err"] * factor}, {}, True
    for velocity in (300, 1000, 3000):
        sign = np.where(seen["redshift"] > 0.02, rng.choice([-1, 1], size=n), 1)  # no redshift may come out negative
        wrong = (1 + seen["redshift"]) * (1 + sign * velocity / C_KMS) - 1
        yield f"redshift off by {velocity} km/s", seen, {"redshift": wrong}, True
    yield "bands of another galaxy", seen | {key: np.roll(seen[key], 1, axis=0) for key in _BAND_KEYS}, {}, True
    for factor in (0.1, 0.5, 1.2, 2.0):
        yield f"bands times {factor:g}", seen | {key: factor * seen[key] for key in _BAND_KEYS}, {}, True
    for position in (0, 4):
        wrong = np.where(np.arange(len(BANDS)) == position, 1.5, 1.0)
        yield f"{BANDS[position]} times 1.5", seen | {key: wrong * seen[key] for key in _BAND_KEYS}, {}, True
    for share in (0.1, 0.3, 0.5, 0.9):
        yield f"power law, {100 * share:.0f} % of the light", observe(rng, with_power_law(clean, share)), {}, True
    yield "narrow lines, EW of H beta 20 Å", observe(rng, with_lines(clean, rng, 60, 20)), {}, True
    yield "broad lines (3000 km/s), 50 Å", observe(rng, with_lines(clean, rng, 3000, 50)), {}, True
    yield "lines without stars", observe(rng, with_lines(clean, rng, 60, 100, continuum=0.02)), {"bands": False}, False
    yield "residual sky lines, 20 %", with_sky(seen, rng, 0.2), {}, True
    yield "residual sky lines, 5 %", with_sky(seen, rng, 0.05), {}, True
    yield "black bodies", observe(rng, planck(clean, rng)), {"bands": False}, False
    if (single := stars(clean, rng)) is not None:
        yield "single stars", observe(rng, single), {"bands": False}, False
    flat = _rescaled(clean, np.ones_like(clean["flux"]), np.nan * clean["band_flux"])
    yield "flat, without lines", observe(rng, flat), {"bands": False}, False
    yield "noise around zero", {**seen, "flux": seen["flux"] - clean["flux"]}, {"bands": False}, False
    yield "noise, S/N 1", observe(rng, flat, snr_range=(1, 1.001)), {"bands": False}, False


_BAND_KEYS = ("band_flux", "band_flux_err")


def held_out(predictor, n, emiles, index=10_000):
    """The package's own mocks, masks, cuts, lines and wrong errors included: (mocks, result)."""
    paths = {"e-miles": emiles}
    libraries = [SSPLibrary.read(paths.get(one["name"], one["name"])) for one in predictor.contract.libraries]
    generator = released_mocks(predictor.contract, libraries)
    mocks = generator.chunk(index, n)
    mocks["light_weighted_log_age"] = mocks["scalars"][:, SCALAR_NAMES.index("light_weighted_log_age")]
    return mocks, predict_own(predictor, mocks, generator.wave_aa)


def row_of(name, result, mocks, has_truth):
    """Shares of flags and, with a truth, the error of the light-weighted age."""
    marked = {flag: 100 * np.mean((result.flags & flag) != 0) for flag in Flag}
    row = {
        "Spectra": name,
        "Unusual": f"{marked[Flag.UNUSUAL_SPECTRUM]:.0f}",
        "Poor fit": f"{marked[Flag.POOR_RECONSTRUCTION]:.0f}",
        "Redshift": f"{marked[Flag.REDSHIFT_DOUBTFUL]:.0f}",
        "Bands": f"{marked[Flag.BANDS_DISAGREE]:.0f}",
        "Other": f"{100 * np.mean((result.flags & REFUSALS) != 0):.0f}",
        "Any": f"{100 * np.mean((result.flags & (WARNINGS | REFUSALS)) != 0):.0f}",
        "Log age, light": "",
        "In 68 %": "",
    }
    if has_truth:
        truth = mocks["light_weighted_log_age"]
        error = result.light_weighted_log_age.value - truth
        low, high = (bound.value for bound in result.interval("light_weighted_log_age"))
        spread = 1.4826 * np.nanmedian(np.abs(error - np.nanmedian(error)))
        row["Log age, light"] = f"{np.nanmedian(error):+.2f} / {spread:.2f}"
        row["In 68 %"] = f"{100 * np.mean((truth >= low) & (truth <= high)):.0f}"
    return row


def main():
    """Print, or write, the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", help="name of a released network or file; by default the default network")
    parser.add_argument("--n", type=int, default=500, help="spectra of each kind")
    parser.add_argument("--emiles", default=os.environ.get("SFH_CNN_EMILES"), help="folder of E-MILES (FITS files)")
    parser.add_argument("--mastar", default=mastar_of_mangadap(), help="folder of MaStar populations")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", type=Path, help="folder for the CSV file of the documentation")
    args = parser.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1)
    predictor = load(args.network or next(iter(SFHPredictor.available())))
    print(f"network {predictor.contract.name} ({predictor.sha256[:12]})")
    rows = []
    if args.emiles or len(predictor.contract.libraries) == 1:
        mocks, result = held_out(predictor, args.n, args.emiles)
        rows.append(row_of("held out from training, S/N 3-200", result, mocks, has_truth=True))
    for name, mocks, options, has_truth in cases(args.n, args.seed, args.emiles, args.mastar):
        result = predict(predictor, mocks, **{"calibration_error": 0.01} | options)
        rows.append(row_of(name, result, mocks, has_truth))
    table = Table(rows)
    table.pprint_all()
    if args.write:
        table.write(args.write / "_out_of_domain.csv", format="ascii.csv", overwrite=True)


if __name__ == "__main__":
    main()
