"""Results for the screen and for scripts."""

__all__ = ["flag_meanings", "interval_text", "maps_to_json", "result_to_json"]


def interval_text(result, name):
    """Value and errors of a quantity of a single spectrum, in its unit.

    Parameters
    ----------
    result : SFHResult
    name : str

    Returns
    -------
    str
    """
    from sfh_cnn.results import format_interval

    value = getattr(result, name).value
    lower, upper = (bound.value for bound in result.interval(name))
    number, plus, minus, exponent = format_interval(float(value), float(lower), float(upper))
    power = f" 1e{exponent}" if exponent else ""
    return f"{number} {plus} {minus}{power}"


def flag_meanings(result):
    """Name and meaning of each flag that is set in a result.

    Parameters
    ----------
    result : SFHResult

    Returns
    -------
    list of tuple
    """
    import numpy as np

    from sfh_cnn.core import flag_table

    found = int(np.bitwise_or.reduce(np.atleast_1d(result.flags)))
    return [(name, meaning) for bit, name, meaning in flag_table() if bit & found]


def result_to_json(result, inputs):
    """A result as nested dictionaries: every quantity with its 68 per cent interval and unit.

    Parameters
    ----------
    result : SFHResult
    inputs : sequence of str
        Names of the spectra.

    Returns
    -------
    dict
    """
    spectra = [result] if result.scalar else list(result)
    return {
        "network": result.contract.name,
        "age_edges_yr": result.contract.age_edges_yr,
        "interval_level": 0.6827,
        "spectra": [_one(name, single) for name, single in zip(inputs, spectra, strict=True)],
    }


def maps_to_json(maps, name, output):
    """Maps as nested dictionaries: where they are, how many spaxels have which flag, and medians.

    Parameters
    ----------
    maps : SFHMaps
    name : str
        Name of the cube.
    output : str
        The file with the maps themselves.

    Returns
    -------
    dict
    """
    import numpy as np

    from sfh_cnn.core import Flag
    from sfh_cnn.results import QUANTITIES

    medians = {}
    for key, info in QUANTITIES.items():
        if info.axis or (info.needs_distance and not np.isfinite(maps.result.distance.value).any()):
            continue
        value = getattr(maps, key)
        value = (value() if callable(value) else value).value
        finite = value[np.isfinite(value)]
        medians[key] = {"median": float(np.median(finite)) if finite.size else None, "unit": str(info.unit)}
    return {
        "input": name,
        "output": str(output),
        "network": maps.contract.name,
        "shape": maps.shape,
        "n_bins": int(np.unique(maps.bin_id[maps.bin_id >= 0]).size),
        "flagged_spaxels": {flag.name: int(np.sum((maps.flags & flag.value) > 0)) for flag in Flag},
        "quantities": medians,
    }


def _one(name, result):
    import numpy as np

    from sfh_cnn.results import QUANTITIES

    quantities = {}
    for key, info in QUANTITIES.items():
        if info.needs_distance and not np.isfinite(result.distance.value):
            continue
        value = getattr(result, key)
        value = value() if callable(value) else value
        lower, upper = result.interval(key)
        quantities[key] = {
            "value": value.value,
            "lower": lower.value,
            "upper": upper.value,
            "unit": str(info.unit),
        }
    circumstances = {key: getattr(result, key) for key in ("redshift", "snr", "reduced_chi2", "calibration_error")}
    return {"input": name, "flags": result.flag_names(), **circumstances, "quantities": quantities}
