"""Floor 0: the words every room speaks (grids, units, flags, contract, files). numpy and astropy only."""

from . import card, constants, history, kernels
from .age_grid import AgeGrid
from .cluster import map_on_cluster
from .config_file import build_config, config_to_dict, config_to_toml, load_config
from .contract import ModelContract
from .exceptions import ContractError, CoverageError, NetworkFileError, SFHCNNError, SFHCNNWarning
from .files import atomic_write, one_clear_error, remove_temporaries, sha256_of
from .flags import Flag, flag_names, flag_table
from .flux_units import parse_flux_unit, strip_solid_angle
from .folder_lock import folder_lock
from .footprint import footprint, split_shapes
from .optional import require
from .progress import progress
from .settings import Conf, conf
from .units import DEX_LOG_AGE, FLUX_UNIT, METALLICITY_UNIT, to_plain, to_quantity
from .wavelength_grid import WavelengthGrid, pixel_edges

__all__ = [
    "DEX_LOG_AGE",
    "FLUX_UNIT",
    "METALLICITY_UNIT",
    "AgeGrid",
    "Conf",
    "ContractError",
    "CoverageError",
    "Flag",
    "ModelContract",
    "NetworkFileError",
    "SFHCNNError",
    "SFHCNNWarning",
    "WavelengthGrid",
    "atomic_write",
    "build_config",
    "card",
    "conf",
    "config_to_dict",
    "config_to_toml",
    "constants",
    "flag_names",
    "flag_table",
    "folder_lock",
    "footprint",
    "history",
    "kernels",
    "load_config",
    "map_on_cluster",
    "one_clear_error",
    "parse_flux_unit",
    "pixel_edges",
    "progress",
    "remove_temporaries",
    "require",
    "sha256_of",
    "split_shapes",
    "strip_solid_angle",
    "to_plain",
    "to_quantity",
]
