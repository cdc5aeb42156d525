"""Accuracy of the released networks, and of pPXF, on mock galaxies that other code made.

Usage:
    python benchmarks/accuracy.py                                     all released networks, a few minutes
    python benchmarks/accuracy.py --networks phangs-muse-hst mine.pt --n 4000
    python benchmarks/accuracy.py --ppxf 200 --emiles PATH --keep FOLDER    with pPXF; what was fitted is kept
    python benchmarks/accuracy.py --write docs/user_guide             the tables of the documentation

pPXF fits the first N mocks of the set BC03 and half as many of the others, beside the networks. It gets BC03 templates
and the settings that do best on these mocks: the law of Calzetti or one of free slope, and the best of four
regularisations.

The mocks are those of `independent_mocks`: S/N 10-100 per pixel, A_V 0-2, redshift 0-0.1, dispersion 20-250 km/s, five
bands with errors of 2-10 per cent, nothing wrong but noise unless the row says so. Networks are asked through
``SFHPredictor.predict``. Cells are median bias / 1.4826 MAD / standard deviation in dex. One thread.
"""

import argparse
import importlib.util
import os
import time
from functools import partial
from pathlib import Path

import astropy.units as u
import numpy as np
import torch
from astropy.nddata import StdDevUncertainty
from astropy.table import QTable, Table
from independent_mocks import (
    BANDS,
    DUST_LAWS,
    EDGES_YR,
    ENRICHMENTS,
    FAMILIES,
    WAVE_AA,
    MockMaker,
    observe,
    read_bc03,
    read_emiles,
    read_mastar,
)
from ppxf_fit import MODES, Fitter, Templates, line_spread
from specutils import Spectrum
from threadpoolctl import threadpool_limits

from sfh_cnn import AgeGrid, SFHPredictor
from sfh_cnn.core.constants import SCALAR_NAMES
from sfh_cnn.ssp import SSPLibrary
from sfh_cnn.synthesis import DustPrior, InstrumentConfig, MockGenerator, ObservationConfig, SynthesisConfig

MEANS = {
    "light_weighted_log_age": "Log age, light",
    "mass_weighted_log_age": "Log age, mass",
    "light_weighted_metallicity": "[M/H], light",
    "mass_weighted_metallicity": "[M/H], mass",
}
LEVELS = (0.6827, 0.9545)
#: Sets that pPXF fits too, always with BC03 templates.
BESIDE_PPXF = ("BC03", "4800-7000 Å", "below 6230 Å", "smooth errors of 1 %", "E-MILES", "MaStar, no bands")
LOCAL = "phangs-muse-hst-local"
UNIT = 1e-17 * u.erg / u.s / u.cm**2 / u.AA
#: Regularisations that pPXF may choose from, and on how many mocks it chooses, also between the laws of dust.
REGULS, N_TRIED = (0.3, 1.0, 3.0, 10.0), 24


def predict(predictor, mocks, bands=True, calibration_error=0.0, wave_range_aa=None, **options):
    """Ask a network through the public interface; wavelengths of ``wave_range_aa`` are in the rest frame."""
    mask = np.zeros(mocks["flux"].shape, dtype=bool)
    if wave_range_aa is not None:
        rest = WAVE_AA / (1 + mocks["redshift"][:, None])
        mask = (rest < wave_range_aa[0]) | (rest > wave_range_aa[1])
    spectrum = Spectrum(
        spectral_axis=WAVE_AA * u.AA,
        flux=mocks["flux"] * UNIT,
        uncertainty=StdDevUncertainty(mocks["flux_err"] * UNIT),
        mask=mask,
        meta={"medium": "air"},
    )
    photometry = QTable() if bands else None
    for i, name in enumerate(BANDS if bands else ()):
        photometry[name] = mocks["band_flux"][:, i] * UNIT
        photometry[f"{name}_err"] = mocks["band_flux_err"][:, i] * UNIT
    options = {"redshift": mocks["redshift"], "calibration_error": calibration_error} | options
    return predictor.predict(spectrum, photometry, **options)


def predict_own(predictor, mocks, wave_aa):
    """Ask about mocks of a `MockGenerator` (arrays as of `chunk`, on the network's pixels) in the same way."""
    spectra = [
        Spectrum(
            spectral_axis=wave_aa * (1 + mocks["redshift"][i]) * u.AA,
            flux=mocks["flux"][i] * UNIT,
            uncertainty=StdDevUncertainty(mocks["flux_err"][i] * UNIT),
            mask=mocks["mask"][i],
            meta={"medium": "air"},
        )
        for i in range(len(mocks["redshift"]))
    ]
    photometry = QTable()
    for i, name in enumerate(predictor.contract.bands):
        photometry[name] = mocks["band_flux"][:, i] * UNIT
        photometry[f"{name}_err"] = mocks["band_flux_err"][:, i] * UNIT
    return predictor.predict(
        spectra, photometry, redshift=mocks["redshift"], calibration_error=mocks["calibration_error"]
    )


def own_mocks(n, seed):
    """What the package itself makes of the settings of the set BC03; mocks and wavelengths."""
    observation = ObservationConfig(
        snr_range=(10, 100),
        no_calibration_error_share=1.0,
        right_error_share=1.0,
        full_coverage_share=1.0,
        masked_share=0.0,
        emission_share=0.0,
        band_error_range=(0.02, 0.1),
        no_bands_share=0.0,
        some_bands_share=0.0,
        grey_mismatch=0.0,
        zero_point_error=0.0,
        velocity_error_kms=0.0,
    )
    # A seed that no network was trained with.
    config = SynthesisConfig(observation=observation, dust=DustPrior(a_v_range=(0, 2)), seed=1000 + seed)
    generator = MockGenerator(config)
    mocks = generator.chunk(0, n)
    mocks |= {name: mocks["scalars"][:, SCALAR_NAMES.index(name)] for name in MEANS}
    return mocks, generator.wave_aa


def answers_of(result):
    """Medians, intervals and fractions as plain arrays."""
    answers = {name: getattr(result, name).value for name in MEANS}
    for name in MEANS:
        answers[name, "bounds"] = [[bound.value for bound in result.interval(name, level)] for level in LEVELS]
    return answers | {"mass_fraction": result.mass_fraction.value}


def score(answers, truth, rows):
    """Row of a table: errors of the means and fractions, outliers, coverage."""
    row, outliers, coverage = {}, [], [[], []]
    for name, label in MEANS.items():
        error = (answers[name] - truth[name])[rows]
        middle = np.median(error)
        mad = 1.4826 * np.median(np.abs(error - middle))
        row[label] = f"{middle:+.2f} / {mad:.3f} / {error.std():.2f}"
        outliers.append(100 * np.mean(np.abs(error) > 0.5))
        for part, (low, high) in zip(coverage, answers.get((name, "bounds"), ()), strict=False):  # pPXF has no bounds
            part.append(100 * np.mean((truth[name] >= low)[rows] & (truth[name] <= high)[rows]))
    row["Fractions"] = f"{np.abs(answers['mass_fraction'] - truth['mass_fraction'])[rows].mean():.3f}"
    row["Off by 0.5 dex, %"] = f"{outliers[0]:.1f} / {outliers[1]:.1f}"
    for label, part in zip(("In 68 %", "In 95 %"), coverage, strict=True):
        row[label] = " / ".join(f"{value:.0f}" for value in part)
    return row


def groups_of(mocks):
    """Names and rows of the groups that are reported."""
    low, high = np.quantile(mocks["snr"], [1 / 3, 2 / 3])
    groups = {
        "all": np.ones(len(mocks["snr"]), dtype=bool),
        f"S/N < {low:.0f}": mocks["snr"] < low,
        f"S/N {low:.0f}-{high:.0f}": (mocks["snr"] >= low) & (mocks["snr"] < high),
        f"S/N > {high:.0f}": mocks["snr"] >= high,
    }
    for key, names in (("dust_law", DUST_LAWS), ("enrichment", ENRICHMENTS), ("family", FAMILIES)):
        groups |= {name: mocks[key] == i for i, name in enumerate(names)}
    return groups


def scenarios(n, seed, emiles, mastar):
    """Sets of mocks and how to ask: name to (mocks, options of `predict`)."""
    library = read_bc03()
    maker = MockMaker(library)
    clean = maker.make(np.random.default_rng([seed, 0]), n)
    mocks = observe(np.random.default_rng([seed, 1]), clean)
    bent = observe(np.random.default_rng([seed, 2]), clean, smooth_rms=0.01)
    local = maker.make(np.random.default_rng([seed, 3]), n, prior="local discs", a_v_range=(0.0, 1.5))
    local = observe(np.random.default_rng([seed, 4]), local, snr_range=(15.0, 50.0))
    sets = {
        "BC03": (mocks, {}),
        "no bands": (mocks, {"bands": False}),
        "4800-7000 Å": (mocks, {"wave_range_aa": (4800.0, 7000.0)}),
        "below 6230 Å": (mocks, {"wave_range_aa": (4750.0, 6230.0)}),
        "smooth errors of 1 %": (bent, {"calibration_error": 0.01}),
        "the same, unsaid": (bent, {"calibration_error": 0.0}),
        "local discs, S/N 15-50": (local, {}),
    }
    if emiles:
        foreign = MockMaker(read_emiles(emiles)).make(np.random.default_rng([seed, 5]), n)
        foreign = observe(np.random.default_rng([seed, 6]), foreign)
        sets |= {"E-MILES": (foreign, {}), "E-MILES, no bands": (foreign, {"bands": False})}
    if mastar:
        third = MockMaker(read_mastar(mastar, library)).make(np.random.default_rng([seed, 7]), n)
        third = observe(np.random.default_rng([seed, 8]), third)
        sets["MaStar, no bands"] = third, {"bands": False, "calibration_error": 0.01}
    return sets


def run_ppxf(mocks, templates, wave_range_aa):
    """Fit mocks in every mode; name of the method to answers, with CPU seconds."""
    instrument, found = InstrumentConfig(), {}
    settings = [
        (mode, regul, free_slope)
        for mode in MODES
        if "bands" not in mode or np.isfinite(mocks["band_flux"]).any()
        for regul in (REGULS if "regularised" in mode else (0.0,))
        for free_slope in ((None,) if mode == "as PHANGS" else (True, False))
    ]
    for row, redshift in enumerate(mocks["redshift"]):
        if row == N_TRIED:
            settings = _best(found, mocks)
        wave = WAVE_AA / (1 + redshift)
        use = (wave >= wave_range_aa[0]) & (wave <= wave_range_aa[1])
        spectra = [mocks[name][row, use] for name in ("flux", "flux_err")]
        bands = [mocks[name][row] for name in ("band_flux", "band_flux_err")]
        spread = line_spread(instrument, redshift)
        fitter = Fitter(templates, wave[use], redshift, spread, BANDS)
        for mode, fitter.regul, fitter.free_slope in settings:
            answer = fitter.fit(mode, *spectra, np.zeros(use.sum(), dtype=bool), *bands)
            found.setdefault((mode, fitter.regul, fitter.free_slope), []).append(answer)
    return {
        _label(*key): {name: np.array([one[name] for one in found[key]]) for name in found[key][0]}
        for key in _best(found, mocks)
    }


def _label(mode, regul, free_slope):
    return f"pPXF, {mode}" + (f" ({regul:g})" if regul else "") + (", Calzetti" if free_slope is False else "")


def _best(found, mocks):
    """What does best on the first of these very mocks, in favour of pPXF: a law of dust, and for each mode the rest."""

    def error(key):
        answers = found[key][:N_TRIED]
        return np.mean([np.abs([one[name] for one in answers] - mocks[name][: len(answers)]) for name in MEANS])

    modes = dict.fromkeys(mode for mode, *_ in found)
    choices = [
        [min((key for key in found if key[0] == mode and key[2] in (law, None)), key=error) for mode in modes]
        for law in sorted({key[2] for key in found} - {None})
    ]
    return min(choices, key=lambda keys: sum(map(error, keys)))


def kept(path, make):
    """A dictionary of dictionaries of arrays: read from a file, or made, and written to it if there is a path."""
    if path is not None and path.exists():
        with np.load(path) as file:
            parts = {tuple(key.split("|")): file[key] for key in file.files}
        return {method: {name: parts[m, name] for m, name in parts if m == method} for method, _ in parts}
    answers = make()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **{f"{method}|{name}": one[name] for method, one in answers.items() for name in one})
    return answers


def timed(predictor, mocks, options):
    """Answers of a network, with CPU seconds."""
    start = time.process_time()
    answers = answers_of(predict(predictor, mocks, **options))
    return answers | {"cpu_s": (time.process_time() - start) / len(mocks["snr"])}


def beside_ppxf(predictors, sets, n, keep):
    """Networks and pPXF on the same mocks: rows by set and, of what is given bands, by group of the set BC03."""
    templates = Templates(SSPLibrary.read("bc03-miles"), AgeGrid(EDGES_YR * u.yr), (-2.0, 0.4))
    overall, by_group = [], []
    for name in [name for name in BESIDE_PPXF if name in sets]:
        mocks, options = sets[name]
        mocks = {key: values[: n if name == "BC03" else n // 2] for key, values in mocks.items()}
        methods = {}
        for network, predictor in predictors.items():
            if network != LOCAL:
                methods[network] = timed(predictor, mocks, options)
                if options.get("bands", True):
                    methods[f"{network}, no bands"] = timed(predictor, mocks, options | {"bands": False})
        fit = partial(run_ppxf, mocks, templates, options.get("wave_range_aa", (4750.0, 8750.0)))
        methods |= kept(keep and keep / f"{name}.npz", fit)
        for method, answers in methods.items():
            row = {"Mocks": name, "N": len(mocks["snr"]), "Method": method, **score(answers, mocks, slice(None))}
            overall.append(row | {"CPU s": f"{np.mean(answers['cpu_s']):.2g}"})
        if name == "BC03":
            by_group = [
                {"Mocks": group, "N": rows.sum(), "Method": method, **score(answers, mocks, rows)}
                for group, rows in groups_of(mocks).items()
                if group not in ("all", *ENRICHMENTS) and rows.any()
                for method, answers in methods.items()
                if method in predictors or "+ bands" in method
            ]
        print(f"{name}: done", flush=True)
    return {"accuracy_ppxf": overall, "accuracy_ppxf_groups": by_group}


def load(name):
    """A released network by its name, or a file."""
    return SFHPredictor.from_file(name) if Path(name).suffix == ".pt" else SFHPredictor.pretrained(name)


def mastar_of_mangadap():
    """Folder of the MaStar populations of sdss-mangadap, or None; the package is not imported."""
    spec = importlib.util.find_spec("mangadap")
    if spec is None:
        return None
    return Path(spec.submodule_search_locations[0]) / "data" / "spectral_templates" / "mastar_ssp_v1.0"


def main():
    """Make mocks, ask everyone, print and write tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", help="names of released networks or files; by default all released")
    parser.add_argument("--n", type=int, default=2000, help="mocks in each set")
    parser.add_argument("--ppxf", type=int, default=0, metavar="N", help="mocks of the set BC03 that pPXF fits")
    parser.add_argument("--keep", type=Path, help="folder for what pPXF found, which a second run takes from there")
    parser.add_argument("--emiles", default=os.environ.get("SFH_CNN_EMILES"), help="folder of E-MILES (FITS files)")
    parser.add_argument("--mastar", default=mastar_of_mangadap(), help="folder of MaStar populations")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", type=Path, help="folder for the CSV files of the documentation")
    args = parser.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1)

    names = args.networks or SFHPredictor.available()
    predictors = {predictor.contract.name: predictor for predictor in map(load, names)}
    sets = scenarios(args.n, args.seed, args.emiles, args.mastar)
    overall, by_group = [], []
    for network, predictor in predictors.items():
        print(f"network {network} ({predictor.sha256[:12]})")
        for name, (mocks, options) in sets.items():
            if network == LOCAL and not name.startswith("local"):
                continue  # its prior holds no other galaxies
            answers = answers_of(predict(predictor, mocks, **options))
            groups = groups_of(mocks)
            overall.append({"Network": network, "Mocks": name, **score(answers, mocks, groups["all"])})
            if name == "BC03":
                own, wave_aa = own_mocks(args.n, args.seed)
                answers_own = answers_of(predict_own(predictor, own, wave_aa))
                row = {"Network": network, "Mocks": "the same, by this package"}
                overall.append(row | score(answers_own, own, slice(None)))
                by_group += [
                    {"Network": network, "Mocks": group, **score(answers, mocks, rows)}
                    for group, rows in groups.items()
                ]
    _show("accuracy", overall, args.write)
    _show("accuracy_groups", by_group, args.write)
    if args.ppxf:
        for title, rows in beside_ppxf(predictors, sets, args.ppxf, args.keep).items():
            _show(title, rows, args.write)


def _show(title, rows, folder):
    """Print a table and write it for the documentation."""
    table = Table(rows)
    print(f"\n{title}")
    table.pprint_all()
    if folder:
        table.write(folder / f"_{title}.csv", format="ascii.csv", overwrite=True)


if __name__ == "__main__":
    main()
