"""Results as a tidy QTable or as plain numpy arrays."""

import astropy.units as u
import numpy as np
from astropy.table import QTable

from .quantities import QUANTITIES

__all__ = ["result_to_dict", "result_to_table"]

#: Circumstances of a prediction that go in tables beside the quantities.
_CIRCUMSTANCES = {
    "flags": "quality flags, 0 is clean",
    "snr": "median S/N per pixel",
    "redshift": "redshift used",
    "distance": "luminosity distance",
    "calibration_error": "fractional calibration error allowed for",
    "reduced_chi2": "reduced chi2 of the reconstruction",
    "unusualness": "distance from the training set over its threshold",
    "v_flux": "mean f_lambda over 5070-5950 Angstrom, rest frame",
}

#: How a unit reads in the name of a plain array.
_SUFFIX = {
    u.dimensionless_unscaled: "",
    u.dex: "_dex",
    u.dex(u.yr): "_dex",
    u.mag: "_mag",
    u.Gyr: "_gyr",
    u.M_sun: "_msun",
    u.M_sun / u.L_sun: "_msun_lsun",
    u.M_sun / u.yr: "_msun_yr",
    u.yr**-1: "_per_yr",
}


def _values(result, level):
    """Yield name, info, value, lower, upper; the last two are None where only draws could tell."""
    has_distance = np.any(np.isfinite(result.arrays["distance_mpc"]))
    for name, info in QUANTITIES.items():
        if info.axis == "edge" or (info.needs_distance and not has_distance):
            continue
        value = getattr(result, name)
        value = value() if callable(value) else value
        stored = result.has_stored_quantiles(name)
        lower, upper = result.interval(name, level) if stored else (None, None)
        yield name, info, value, lower, upper


def result_to_table(result, level=0.6827):
    """One row per spectrum; see `SFHResult.to_table`."""
    table = QTable(meta={"network": result.contract.name, "imf": result.contract.imf, "level": level})
    table.meta["age_edges_yr"] = [float(edge) for edge in result.contract.age_edges_yr]
    many = result.as_many()
    for name, description in _CIRCUMSTANCES.items():
        table[name] = getattr(many, name)
        table[name].info.description = description
    for name, info, value, lower, upper in _values(many, level):
        table[name] = value
        table[name].info.description = info.description
        if lower is not None:
            for end, bound in (("lower", lower), ("upper", upper)):
                table[f"{name}_{end}"] = bound
                table[f"{name}_{end}"].info.description = f"{end} end of the {100 * level:.4g} per cent interval"
    return table


def result_to_dict(result, level=0.6827):
    """Plain arrays, the unit in each name; see `SFHResult.to_dict`."""
    out = {"age_edges_gyr": np.asarray(result.contract.age_edges_yr) / 1e9, "flags": np.asarray(result.flags)}
    for name, info, value, lower, upper in _values(result, level):
        key = name + _SUFFIX[info.unit]
        out[key] = np.asarray(value.value)
        if lower is not None:
            out[f"{key}_lower"], out[f"{key}_upper"] = np.asarray(lower.value), np.asarray(upper.value)
    return out
