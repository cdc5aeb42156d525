"""Whether pPXF is more accurate with templates of more ages: of the network's bins, or as many as its own grids have.

    cd benchmarks
    PYTHONPATH=.. OMP_NUM_THREADS=1 python ppxf_ages.py --n 120

Median bias and 1.4826 MAD in dex of the four means on the mocks of `accuracy.py`, and seconds of CPU per spectrum.
"""

import argparse

import accuracy
import astropy.units as u
import numpy as np
from ppxf_fit import Fitter, Templates, line_spread
from speed import N_AGE_PPXF
from threadpoolctl import threadpool_limits

from sfh_cnn import AgeGrid
from sfh_cnn.ssp import SSPLibrary
from sfh_cnn.synthesis import InstrumentConfig


def main():
    """Fit the same mocks with both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=120, help="mocks")
    n = parser.parse_args().n
    threadpool_limits(1)
    mocks = accuracy.scenarios(2000, 1, None, None)["BC03"][0]
    instrument, library = InstrumentConfig(), SSPLibrary.read("bc03-miles")
    for edges_yr in (accuracy.EDGES_YR, np.append(0.0, np.geomspace(1e6, 1.38e10, N_AGE_PPXF))):
        templates, found = Templates(library, AgeGrid(edges_yr * u.yr), (-2.0, 0.4)), {}
        for i in range(n):
            redshift = mocks["redshift"][i]
            wave = accuracy.WAVE_AA / (1 + redshift)
            use = (wave >= 4750) & (wave <= 8750)
            fitter = Fitter(templates, wave[use], redshift, line_spread(instrument, redshift), accuracy.BANDS)
            spectrum = [mocks[name][i, use] for name in ("flux", "flux_err")]
            bands = [mocks[name][i] for name in ("band_flux", "band_flux_err")]
            for mode in ("spectrum + bands", "as PHANGS"):
                answer = fitter.fit(mode, *spectrum, np.zeros(use.sum(), dtype=bool), *bands)
                found.setdefault(mode, []).append(answer)
        for mode, answers in found.items():
            print(f"{len(edges_yr) - 1} ages, {mode}: {np.mean([one['cpu_s'] for one in answers]):.2f} s")
            for name in accuracy.MEANS:
                off = np.array([one[name] for one in answers]) - mocks[name][:n]
                scatter = 1.4826 * np.median(np.abs(off - np.median(off)))
                print(f"    {name:28s} {np.median(off):+.3f} {scatter:.3f}", flush=True)


if __name__ == "__main__":
    main()
