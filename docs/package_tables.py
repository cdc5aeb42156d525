"""Directives that write tables from the package itself: flags, quantities, and what the networks' cards say."""

import itertools

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from sfh_cnn import SFHPredictor
from sfh_cnn.core import card as words
from sfh_cnn.core import flag_table
from sfh_cnn.core.card import QUANTITY_LABELS
from sfh_cnn.results import QUANTITIES as RESULT_QUANTITIES

#: Quantities of a card that have a row in a table: all but kinematics and what only draws tell.
QUANTITIES = {name: QUANTITY_LABELS[name] for name in tuple(QUANTITY_LABELS)[:8]}
MEANS = tuple(QUANTITIES)[:4]

_predictors = {}


def load(name=None):
    """Predictor of a released network, the first by default; read once per build."""
    name = name or next(iter(SFHPredictor.available()))
    if name not in _predictors:
        _predictors[name] = SFHPredictor.pretrained(name)
    return _predictors[name]


def table(header, rows, widths=None):
    """A table in reStructuredText."""
    lines = [".. list-table::", "   :header-rows: 1", *([f"   :widths: {widths}"] if widths else []), ""]
    for row in (header, *rows):
        lines += [f"   {'*' if i == 0 else ' '} - {cell}" for i, cell in enumerate(row)]
    return [*lines, ""]


def percent(share):
    """A share as whole per cent, or with one digit below 10."""
    return f"{100 * share:.0f}" if share >= 0.1 else f"{100 * share:.1f}"


def overall(accuracy):
    """Bias, scatter, outliers and coverage over all mocks."""
    header = ("Quantity", "Bias", "Scatter", "Standard deviation", "Off by > 0.5 [%]", "In 68 % [%]", "In 95 % [%]")
    rows = []
    for name, (label, unit) in QUANTITIES.items():
        score = accuracy["overall"][name]
        rows.append(
            (
                f"{label} ({unit})",
                f"{score['bias']:+.3f}",
                f"{score['scatter']:.3f}",
                f"{score['std']:.3f}",
                percent(score["outliers"]),
                *(percent(score["coverage"][level]) for level in ("68", "95")),
            )
        )
    return table(header, rows, "34 10 10 14 12 10 10")


def groups(accuracy):
    """Scatter and coverage of the four means by group."""
    header = ("Mocks with", "Number", *(QUANTITIES[name][0] for name in MEANS))
    rows = [
        (
            name,
            group["n"],
            *(f"{group[key]['scatter']:.3f} ({percent(group[key]['coverage']['68'])})" for key in MEANS),
        )
        for name, group in accuracy["groups"].items()
    ]
    return table(header, rows)


def between(low, high):
    """Percentages of a range, or the one that both ends round to."""
    ends = percent(low), percent(high)
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def summary(contract):
    """The most important numbers as a sentence."""
    accuracy = contract.accuracy
    scores, (low_snr, high_snr) = accuracy["overall"], contract.domain["snr"]
    coverage = [scores[name]["coverage"] for name in QUANTITIES]
    within = {level: sorted(one[level] for one in coverage) for level in ("68", "95")}
    low, high = within["68"][0], within["68"][-1]
    low_95, high_95 = within["95"][0], within["95"][-1]
    text = (
        f"On {accuracy['n_mocks']} mock galaxies that the network has not seen, drawn from all that it was trained for"
        f" (S/N {low_snr:.2g} to {high_snr:g} per pixel of {contract.wave_step_aa:g} Angstrom, cut and masked spectra, "
        "with and without bands, calibration errors up to 3 per cent), "
        "the scatter is "
        f"**{scores['light_weighted_log_age']['scatter']:.2f} dex in light-weighted and "
        f"{scores['mass_weighted_log_age']['scatter']:.2f} dex in mass-weighted log age**, "
        f"**{scores['light_weighted_metallicity']['scatter']:.2f} and "
        f"{scores['mass_weighted_metallicity']['scatter']:.2f} dex in [M/H]**. "
        f"The 68 per cent intervals hold {between(low, high)} per cent of the truths, depending on the quantity, the "
        f"95 per cent intervals {between(low_95, high_95)}. "
        f"The mass fraction of a bin is off by {scores['mass_fraction_mae']:.3f} on average."
    )
    return [text, ""]


def library_text(one):
    """One stellar library of a card."""
    return (
        f"{one['name']}: {one['reference']}. Solar metallicity {one['solar_metallicity']:g}. "
        f"Licence: {one['license']}. SHA-256 ``{one['sha256'][:16]}...``"
    )


def card(predictor):
    """What a network was made for and trained on."""
    contract = predictor.contract
    low, high = contract.wavelength_grid.edges_aa[[0, -1]]
    domain, training = contract.domain, contract.training
    metallicity_low, metallicity_high = contract.metallicity_range_dex

    def extent(name, unit=""):
        return f"{domain[name][0]:g} to {domain[name][1]:g}{unit}"

    rows = [
        ("Wavelengths", f"{low:.0f}-{high:.0f} Angstrom in steps of {contract.wave_step_aa:g}, rest frame, air"),
        ("Bands", ", ".join(contract.bands)),
        ("Age bins", f"{contract.n_age}, from 0 to {contract.age_edges_yr[-1] / 1e9:.3g} Gyr of lookback time"),
        ("[M/H]", f"{metallicity_low:g} to {metallicity_high:g} dex"),
        ("Initial mass function", contract.imf),
        *(("Stellar library", library_text(one)) for one in contract.libraries),
        ("S/N per pixel", extent("snr")),
        ("Redshift", extent("redshift")),
        ("A_V", extent("a_v", " mag")),
        ("Velocity dispersion", extent("velocity_dispersion_kms", " km/s")),
        ("Calibration error", extent("calibration_error")),
        ("Shortest coverage", f"{100 * domain['min_coverage']:.0f} per cent of the wavelengths"),
        *((f"Prior, {subject}", text.replace("_", " ")) for subject, text in words.priors(contract)),
        ("Training", " ".join(training_text(training))),
        ("Time", f"{words.duration(training.get('seconds'))} for the last stage, on {training['machine']}"),
        ("Code", f"sfh_cnn {training['code_version']}, released {training['released']}"),
        ("SHA-256 of the file", f"``{predictor.sha256[:32]}...``"),
    ]
    return table(("Item", "Value"), rows, "25 75")


def training_text(training):
    """Sentences on how a network was trained."""
    start = f", from the weights of ``{training['started_from']}``" if "started_from" in training else ""
    teacher = f", with ``{training['teacher']}`` as its teacher" if "teacher" in training else ""
    mocks = f"{training['n_mocks_seen']:,} mocks in the last stage, each seen once"
    yield f"{mocks}, seed {training['seed']}{start}{teacher}."
    if "note" in training:
        yield training["note"]


def stages(contract):
    """All trainings that led to a network, and the learning curve of the last one."""
    scatter = tuple(f"{QUANTITIES[name][0]} (dex)" for name in words.CURVE_QUANTITIES)
    rows = [
        (
            i + 1,
            f"{stage['n_mocks_seen']:,}",
            stage["seed"],
            words.duration(stage.get("seconds")),
            stage.get("machine", "not recorded").split(", x86_64")[0],
            *(f"{value:.3f}" for value in words.last_scatter(stage)),
        )
        for i, stage in enumerate(words.stages(contract))
    ]
    yield from (
        "Trainings, each from the weights of the one before, and the scatter on held-out mocks at the end of",
        "each:",
        "",
    )
    yield from table(("Stage", "Mocks", "Seed", "Time", "Machine", *scatter), rows)
    yield from ("Learning curve of the last one:", "")
    rows = [(f"{mocks:,}", *(f"{value:.3f}" for value in points)) for mocks, *points in words.curve_points(contract)]
    yield from table(("Mocks", *scatter), rows)


def biases(contract):
    """Bias of the mass fraction by bin."""
    yield from ("Mean of predicted less true mass fraction by age bin, in units of 0.001:", "")
    rows = [
        (f"{start / 1e9:.3g}-{end / 1e9:.3g} Gyr", f"{1000 * bias:+.1f}")
        for start, end, bias in words.bin_biases(contract)
    ]
    half = (len(rows) + 1) // 2
    pairs = [(*left, *right) for left, right in itertools.zip_longest(rows[:half], rows[half:], fillvalue=("", ""))]
    yield from table(("Age", "Bias", "Age", "Bias"), pairs)


def failures(contract):
    """Known failures and commands."""
    yield from ("Known failures:", "")
    yield from (f"- {sentence}" for sentence in words.weak_points(contract))
    yield from ("", "To make it anew::", "")
    yield from (f"    {command}" for command in words.commands(contract))
    yield ""


class FlagTable(SphinxDirective):
    """Every quality flag."""

    def run(self):
        """The nodes."""
        lines = table(
            ("Bit", "Name", "Meaning"), [(bit, f"``{name}``", text) for bit, name, text in flag_table()], "10 30 60"
        )
        return self.parse_text_to_nodes("\n".join(lines))


class QuantityTable(SphinxDirective):
    """Every quantity of a result."""

    def run(self):
        """The nodes."""
        shape = {"": "one", "bin": "per age bin", "edge": "per bin edge"}
        rows = []
        for name, info in RESULT_QUANTITIES.items():
            unit = "" if str(info.unit) == "" else f"``{info.unit}``"
            needs = "; needs a distance" if info.needs_distance else ""
            rows.append((f"``{name}``", unit, shape[info.axis], f"{info.description}{needs}"))
        lines = table(("Name", "Unit", "Numbers", "Meaning"), rows, "30 14 14 42")
        return self.parse_text_to_nodes("\n".join(lines))


class _FromCard(SphinxDirective):
    """Text made from a released network's card; the argument names it, by default the first."""

    optional_arguments = 1
    make = None

    def run(self):
        """The nodes."""
        contract = load(next(iter(self.arguments), None)).contract
        return self.parse_text_to_nodes("\n".join(type(self).make(contract)))


class AccuracySummary(_FromCard):
    """A sentence with the most important numbers."""

    make = staticmethod(summary)


class AccuracyOverall(_FromCard):
    """Accuracy over all mocks."""

    make = staticmethod(lambda contract: overall(contract.accuracy))


class AccuracyGroups(_FromCard):
    """Accuracy by group of mocks."""

    make = staticmethod(lambda contract: groups(contract.accuracy))


class ModelCards(SphinxDirective):
    """A section for each released network."""

    def run(self):
        """The nodes."""
        sections = []
        for name, text in SFHPredictor.available().items():
            predictor = load(name)
            contract = predictor.contract
            lines = [f"{text}.", "", *card(predictor), *summary(contract)]
            lines += [*overall(contract.accuracy), *groups(contract.accuracy), *biases(contract)]
            lines += [*stages(contract), *failures(contract)]
            section = nodes.section(ids=[nodes.make_id(name)])
            section += nodes.title(text=name)
            section += self.parse_text_to_nodes("\n".join(lines))
            sections.append(section)
        return sections


def setup(app):
    """Register the directives."""
    app.add_directive("flag-table", FlagTable)
    app.add_directive("quantity-table", QuantityTable)
    app.add_directive("accuracy-summary", AccuracySummary)
    app.add_directive("accuracy-overall", AccuracyOverall)
    app.add_directive("accuracy-groups", AccuracyGroups)
    app.add_directive("model-cards", ModelCards)
    return {"parallel_read_safe": True}
