"""What the first answer of a fresh process does not wait for."""

import subprocess
import sys

#: Each takes 0.1 to 2 seconds to import.
HEAVY = ("torch._dynamo", "sympy", "specutils", "matplotlib", "scipy.interpolate", "astropy.cosmology", "dask")


def test_the_first_answer_imports_nothing_that_it_does_not_need():
    """Reading a spectrum, loading the network, predicting and printing, as ``sfh-cnn predict example`` does."""
    code = (
        "import sys\nfrom sfh_cnn.cli.main import main\nmain(['predict', 'example'], standalone_mode=False)\n"
        f"print('loaded:', [name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "mass-weighted age" in done.stdout
    assert "loaded: []" in done.stdout
