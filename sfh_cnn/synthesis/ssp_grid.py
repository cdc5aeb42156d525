"""SSPGrid: stellar libraries on common ages, [M/H] and resolution, compressed for fast mixing.

Mock spectra are sums over fine age bins of SSPs at the metallicity of each bin. The SSPs of all
libraries, averaged over the fine bins, are compressed by singular value decomposition, separately for
stars younger than 10 Myr (which may be dustier) and older ones, so that one mock costs a few hundred
numbers instead of a million.
"""

import itertools
import warnings

import numpy as np

from sfh_cnn.core import SFHCNNError, SFHCNNWarning
from sfh_cnn.core.constants import FWHM_PER_SIGMA, V_WINDOW_AA
from sfh_cnn.spectra import smoothing_operator

__all__ = ["CompressedSSP", "SSPGrid", "fine_age_edges"]

#: Sampling of the high-resolution SSPs, Angstrom (the sampling of MILES).
_SOURCE_STEP_AA = 0.9
#: Libraries on pixels narrower than this are averaged over the cells of that sampling; others (MILES, on 0.9) are
#: interpolated at their centres.
_SHARP_STEP_AA = 0.8
#: Sampling and range of the low-resolution SSPs from which band fluxes are made, Angstrom.
_COARSE_STEP_AA = 10.0
#: Age below which stars share the extra attenuation of birth clouds, yr.
_YOUNG_YR = 1.0e7
#: Nodes of [M/H] closer than this are one.
_NODE_DISTANCE_DEX = 0.05
#: Ages that the base must reach: its youngest in yr, and its oldest in units of the oldest edge.
_BASE_YOUNGEST_YR, _BASE_OLDEST = 3e6, 0.9
#: Room left at both ends of the grid for broadening and velocity shifts, Angstrom.
_MARGIN_AA = 70.0


def fine_age_edges(age_edges_yr, n_split=5):
    """Fine age bins inside the network's bins.

    Bins are split evenly in log age; a bin that starts at age 0 is split at 1, 2, 3, ... tenths of its
    upper edge, for the youngest stars change fastest.

    Parameters
    ----------
    age_edges_yr : ndarray, shape (n_age + 1,)
        Edges of the network's bins, yr.
    n_split : int, optional
        Fine bins per bin.

    Returns
    -------
    edges_yr : ndarray, shape (n_fine + 1,)
    parent : ndarray of int, shape (n_fine,)
        Which of the network's bins each fine bin belongs to.
    """
    edges, parent = [age_edges_yr[0]], []
    for i, (low, high) in enumerate(itertools.pairwise(age_edges_yr)):
        inner = high * np.arange(1, 11) / 10 if low == 0 else np.geomspace(low, high, n_split + 1)[1:]
        inner[-1] = high
        edges.extend(inner)
        parent.extend([i] * len(inner))
    return np.array(edges), np.array(parent)


def _age_average(edges_yr, age_yr, n_sample=24):
    """Matrix (n_fine, n_age_ssp) that averages SSPs over fine bins at constant SFR.

    SSPs are interpolated linearly in log age; younger than the first or older than the last SSP, the
    nearest one is taken.
    """
    share = (np.arange(n_sample) + 0.5) / n_sample
    time = edges_yr[:-1, None] + np.diff(edges_yr)[:, None] * share  # (n_fine, n_sample)
    position = np.interp(np.log10(time), np.log10(age_yr), np.arange(len(age_yr)))
    low = np.minimum(position.astype(int), len(age_yr) - 2)
    part = position - low
    matrix = np.zeros((len(edges_yr) - 1, len(age_yr)))
    rows = np.arange(len(matrix))[:, None]
    np.add.at(matrix, (rows, low), (1 - part) / n_sample)
    np.add.at(matrix, (rows, low + 1), part / n_sample)
    return matrix


def metallicity_weights(metallicity_dex, nodes_dex):
    """Linear interpolation weights in [M/H].

    Parameters
    ----------
    metallicity_dex : ndarray, any shape
        [M/H]; outside the nodes the nearest node is taken.
    nodes_dex : ndarray, shape (n_met,)
        Increasing nodes.

    Returns
    -------
    index : ndarray of int
        Lower node.
    part : ndarray
        Weight of the upper node, 0 to 1.
    """
    clipped = np.clip(metallicity_dex, nodes_dex[0], nodes_dex[-1])
    index = np.clip(np.searchsorted(nodes_dex, clipped, side="right") - 1, 0, len(nodes_dex) - 2)
    part = (clipped - nodes_dex[index]) / (nodes_dex[index + 1] - nodes_dex[index])
    return index, part


def _check_coverage(libraries, wave_aa, what):
    """Raise an error that names a library which does not reach from the first to the last wavelength."""
    for library in libraries:
        if library.wave_aa[0] > wave_aa[0] or library.wave_aa[-1] < wave_aa[-1]:
            raise SFHCNNError(
                f"SSP library {library.name!r} covers {library.wave_aa[0]:.0f}-{library.wave_aa[-1]:.0f} Angstrom; "
                f"{what} need {wave_aa[0]:.0f}-{wave_aa[-1]:.0f} (rest frame, air)"
            )


def _check_grids(libraries):
    """Raise an error that names a library that cannot be interpolated, or a base without light per mass formed."""
    for library in libraries:
        if len(library.age_yr) < 2 or len(library.metallicity_dex) < 2:
            raise SFHCNNError(
                f"SSP library {library.name!r} needs two or more ages and metallicities to interpolate between, got "
                f"{len(library.age_yr)} and {len(library.metallicity_dex)}"
            )
    if not libraries[0].per_mass_formed:
        raise SFHCNNError(
            f"the base SSP library {libraries[0].name!r} has no fluxes per mass formed, which mocks need; put a "
            "library that has them first, or give it levels with SSPLibrary.with_light_of"
        )


def _warn_of_gaps(base, oldest_yr, metallicity_range_dex):
    """Warn of ages and [M/H] of the mocks for which the base has nothing but its nearest spectra."""
    (young, old), (poor, rich) = base.age_yr[[0, -1]], base.metallicity_dex[[0, -1]]
    low, high = metallicity_range_dex
    gaps = []
    if young > _BASE_YOUNGEST_YR or old < _BASE_OLDEST * oldest_yr:
        gaps.append(f"ages of {young:g}-{old:g} yr for mocks of 0-{oldest_yr:g} yr")
    if poor > low + _NODE_DISTANCE_DEX or rich < high - _NODE_DISTANCE_DEX:
        gaps.append(f"[M/H] of {poor:g} to {rich:g} for mocks of {low:g} to {high:g}")
    if gaps:
        warnings.warn(
            f"the base SSP library {base.name!r} has {' and '.join(gaps)}: its nearest spectra stand in for what it "
            "lacks, so that the mocks are mislabelled there; put a library first that covers all",
            SFHCNNWarning,
            stacklevel=4,
        )


class CompressedSSP:
    """SSP spectra as coefficients times a few basis vectors.

    Each SSP is brought to unit mean before the decomposition, so that faint old populations are
    reproduced as well, in relative terms, as bright young ones.

    Parameters
    ----------
    flux : ndarray, shape (n_lib, n_fine, n_met, n_wave)
        SSP spectra.
    rank : int
        Number of basis vectors.
    """

    def __init__(self, flux, rank):
        rows = flux.reshape(-1, flux.shape[-1])
        level = rows.mean(axis=1, keepdims=True)
        left, value, right = np.linalg.svd(rows / level, full_matrices=False)
        rank = min(rank, len(value))
        self.basis = right[:rank].astype(np.float32)  # (rank, n_wave)
        coefficients = left[:, :rank] * value[:rank] * level
        self.coefficients = coefficients.reshape(*flux.shape[:-1], rank).astype(np.float32)
        model = (left[:, :rank] * value[:rank]) @ right[:rank]
        #: Largest rms residual of any SSP relative to its mean flux.
        self.max_residual = float(np.sqrt(np.mean((model - rows / level) ** 2, axis=1)).max())

    def project(self, weights, library_share):
        """Coefficients of composite spectra.

        Parameters
        ----------
        weights : ndarray, shape (n_spec, n_fine, n_met), float32
            Mass formed in each fine bin at each metallicity node.
        library_share : ndarray, shape (n_spec, n_lib), float32
            Share of each stellar library; rows sum to 1.

        Returns
        -------
        ndarray, shape (n_spec, rank), float32
        """
        flat = weights.reshape(len(weights), -1)
        total = 0.0
        for i, matrix in enumerate(self.coefficients):
            total = total + library_share[:, i : i + 1] * (flat @ matrix.reshape(flat.shape[1], -1))
        return total


class SSPGrid:
    """Stellar libraries ready for mixing.

    The first library is the base: it should cover all ages and metallicities. A further library is scaled
    to the base's V-band light per mass formed at solar metallicity over their common ages above 10 Myr (so
    that an IMF of another mass normalisation does not look like another mass); one without light per mass
    formed takes that of the base population by population. Outside its own [M/H] range it follows the base's
    relative change with [M/H]; below its youngest age, and for all stars below 10 Myr, the base stands in
    for it.

    Parameters
    ----------
    libraries : list of `~sfh_cnn.ssp.SSPLibrary`
        Base first.
    age_edges_yr : ndarray, shape (n_age + 1,)
        The network's age bins, yr.
    wave_range_aa : tuple of float
        Rest-frame range of the network's pixels, Angstrom.
    band_range_aa : tuple of float
        Rest-frame range that the bands need, Angstrom.
    metallicity_range_dex : tuple of float, optional
        Range of the prior; only nodes around it are kept.

    Attributes
    ----------
    edges_yr, parent
        Fine age bins and the network's bin each belongs to.
    nodes_dex : ndarray, shape (n_met,)
        [M/H] nodes.
    source_wave_aa, coarse_wave_aa : ndarray
        Wavelengths of the high- and low-resolution SSPs.
    source_sigma_aa : ndarray
        Resolution of the high-resolution SSPs (standard deviation), the coarsest of the libraries.
    young, old, coarse_young, coarse_old : CompressedSSP
    v_light : ndarray, shape (n_lib, n_fine, n_met)
        Luminosity in the V window per mass formed, L_sun per M_sun.
    surviving : ndarray, shape (n_fine, n_met)
        Surviving share of the mass formed (base library); NaN when it does not state one.

    Raises
    ------
    SFHCNNError
        If the youngest age bins are too wide, a library does not cover the spectra or has a single age or metallicity,
        or the base does not cover the bands or has no light per mass formed.

    Warns
    -----
    SFHCNNWarning
        If the base lacks ages or metallicities of the mocks.
    """

    def __init__(self, libraries, age_edges_yr, wave_range_aa, band_range_aa, metallicity_range_dex=(-2.0, 0.4)):
        _check_grids(libraries)
        libraries = [library.to_air() for library in libraries]
        libraries = [
            library if library.per_mass_formed else library.with_light_of(libraries[0]) for library in libraries
        ]
        self.edges_yr, self.parent = fine_age_edges(np.asarray(age_edges_yr, dtype=float))
        self.n_young = int(np.sum(self.edges_yr[1:] <= _YOUNG_YR * (1 + 1e-9)))
        if self.edges_yr[0] != 0 or not 0 < self.n_young < len(self.edges_yr) - 1:
            raise SFHCNNError(
                f"age bins must tell stars younger than {_YOUNG_YR:g} yr, which birth clouds dim, from older ones: let "
                f"the youngest bin begin at 0 and end at {10 * _YOUNG_YR:g} yr at the latest, got edges at "
                f"{', '.join(f'{edge:g}' for edge in age_edges_yr)} yr"
            )
        _warn_of_gaps(libraries[0], self.edges_yr[-1], metallicity_range_dex)
        low, high = metallicity_range_dex
        nodes = libraries[0].metallicity_dex
        for library in libraries[1:]:  # libraries that nearly agree on a node share it
            far = np.abs(library.metallicity_dex[:, None] - nodes).min(axis=1) > _NODE_DISTANCE_DEX
            nodes = np.sort(np.concatenate([nodes, library.metallicity_dex[far]]))
        self.nodes_dex = nodes[max(np.sum(nodes <= low) - 1, 0) : np.sum(nodes < high) + 1]
        self.source_wave_aa = np.arange(wave_range_aa[0] - _MARGIN_AA, wave_range_aa[1] + _MARGIN_AA, _SOURCE_STEP_AA)
        # Whole multiples of the step, as the ends of the V window are: no coarse pixel lies half inside it.
        start = band_range_aa[0] - round(band_range_aa[0] % _COARSE_STEP_AA, 6) % _COARSE_STEP_AA
        self.coarse_wave_aa = np.arange(start, band_range_aa[1], _COARSE_STEP_AA) + _COARSE_STEP_AA / 2
        _check_coverage(libraries, self.source_wave_aa, "the spectra and some room for broadening")
        _check_coverage(libraries[:1], self.coarse_wave_aa, "the bands at all redshifts")
        resolution = [
            np.interp(self.source_wave_aa, library.wave_aa, library.lsf_fwhm_aa) / FWHM_PER_SIGMA
            for library in libraries
        ]
        for library, sigma_aa in zip(libraries, resolution, strict=True):
            if self._is_sharp(library):  # a mean over a cell has the width of the cell
                sigma_aa[:] = np.sqrt(sigma_aa**2 + _SOURCE_STEP_AA**2 / 12)
        self.source_sigma_aa = np.max(resolution, axis=0)
        fine, coarse = [], []
        for library, sigma_aa in zip(libraries, resolution, strict=True):
            f, c = self._on_common_grid(library, sigma_aa)
            if fine:
                f, c = self._complete(library, f, c, fine[0], coarse[0])
            fine.append(f)
            coarse.append(c)
        fine, coarse = np.array(fine), np.array(coarse)  # (n_lib, n_fine, n_met, n_wave)
        window = (self.coarse_wave_aa >= V_WINDOW_AA[0]) & (self.coarse_wave_aa <= V_WINDOW_AA[1])
        self.v_light = (coarse[..., window].mean(axis=-1) * (V_WINDOW_AA[1] - V_WINDOW_AA[0])).astype(np.float32)
        n = self.n_young
        self.young, self.old = CompressedSSP(fine[:1, :n], 24), CompressedSSP(fine[:, n:], 40 + 24 * len(libraries))
        self.coarse_young, self.coarse_old = CompressedSSP(coarse[:1, :n], 20), CompressedSSP(coarse[:, n:], 48)
        self.surviving = self._surviving(libraries[0])
        self.n_library = len(libraries)

    def _interpolate(self, values, library):
        """SSP values (n_met, n_age_ssp, ...) of a library at (n_fine, n_met)."""
        average = _age_average(self.edges_yr, library.age_yr)
        by_age = np.tensordot(average, values, axes=(1, 1))  # (n_fine, n_met_ssp, ...)
        index, part = metallicity_weights(self.nodes_dex, library.metallicity_dex)
        part = part.reshape(-1, *[1] * (values.ndim - 2))
        return by_age[:, index] * (1 - part) + by_age[:, index + 1] * part

    def _source(self, library):
        """Pixels of a library in and around the range of the high-resolution SSPs."""
        return (library.wave_aa > self.source_wave_aa[0] - 20) & (library.wave_aa < self.source_wave_aa[-1] + 20)

    def _is_sharp(self, library):
        """Whether a library's pixels are so narrow that the sampling of the SSPs would miss some."""
        return np.median(np.diff(library.wave_aa[self._source(library)])) < _SHARP_STEP_AA

    def _on_common_grid(self, library, sigma_aa):
        """One library at the common ages, metallicities, wavelengths and resolution."""
        from scipy.interpolate import make_interp_spline  # 0.15 s that prediction need not wait for

        source = self._source(library)
        by_node = self._interpolate(library.flux[..., source].astype(float), library)
        spline = make_interp_spline(library.wave_aa[source], by_node, k=3, axis=-1)
        if self._is_sharp(library):
            edges = np.append(self.source_wave_aa, self.source_wave_aa[-1] + _SOURCE_STEP_AA) - _SOURCE_STEP_AA / 2
            fine = np.diff(spline.antiderivative()(edges), axis=-1) / _SOURCE_STEP_AA
        else:
            fine = spline(self.source_wave_aa)
        excess = np.sqrt(np.maximum(self.source_sigma_aa**2 - sigma_aa**2, 0.0))
        if excess.max() > 0.05:
            operator = smoothing_operator(self.source_wave_aa, excess)
            fine = (operator @ fine.reshape(-1, fine.shape[-1]).T).T.reshape(fine.shape)
        # Flux-conserving means over the coarse pixels, from the cumulative integral.
        wave = library.wave_aa.astype(float)
        whole = self._interpolate(library.flux.astype(float), library)
        steps = 0.5 * (whole[..., 1:] + whole[..., :-1]) * np.diff(wave)
        integral = np.concatenate([np.zeros_like(steps[..., :1]), np.cumsum(steps, axis=-1)], axis=-1)
        edges = np.append(self.coarse_wave_aa, self.coarse_wave_aa[-1] + _COARSE_STEP_AA) - _COARSE_STEP_AA / 2
        at_edges = make_interp_spline(wave, integral, k=1, axis=-1)(np.clip(edges, wave[0], wave[-1]))
        return fine, np.diff(at_edges, axis=-1) / _COARSE_STEP_AA

    def _complete(self, library, fine, coarse, base_fine, base_coarse):
        """Scale a further library to the base and fill ages and metallicities that it lacks."""
        covered = self.edges_yr[:-1] >= library.age_yr[0] * 0.99
        covered[: self.n_young] = False  # the spectra of young stars are the base's alone
        solar = np.argmin(np.abs(self.nodes_dex))
        window = (self.coarse_wave_aa >= V_WINDOW_AA[0]) & (self.coarse_wave_aa <= V_WINDOW_AA[1])
        ratio = base_coarse[..., window].mean(axis=-1) / coarse[..., window].mean(axis=-1)
        scale = np.exp(np.mean(np.log(ratio[covered, solar])))
        fine, coarse = fine * scale, coarse * scale
        low = np.argmin(np.abs(self.nodes_dex - library.metallicity_dex[0]))
        high = np.argmin(np.abs(self.nodes_dex - library.metallicity_dex[-1]))
        edge = np.clip(np.arange(len(self.nodes_dex)), low, high)
        for own, base in ((fine, base_fine), (coarse, base_coarse)):
            with np.errstate(divide="ignore", invalid="ignore"):
                own *= np.nan_to_num(base / base[:, edge], nan=1.0, posinf=1.0)
            own[~covered] = base[~covered]
            # A library may stop in the ultraviolet or infrared before the bands do.
        beyond = (self.coarse_wave_aa < library.wave_aa[0]) | (self.coarse_wave_aa > library.wave_aa[-1])
        coarse[..., beyond] = base_coarse[..., beyond]
        return fine, coarse

    def _surviving(self, library):
        if library.surviving_fraction is None:
            return np.full((len(self.parent), len(self.nodes_dex)), np.nan)
        return self._interpolate(np.asarray(library.surviving_fraction, dtype=float), library)
