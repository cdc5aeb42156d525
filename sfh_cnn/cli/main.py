"""The command ``sfh-cnn``. Nothing heavy is imported before a command needs it."""

import click

from sfh_cnn import __version__

from .console import Commands, examples, use_option_file
from .figures import plot
from .images import photometry
from .mocks import synthesize
from .networks import evaluate, info, release, train
from .spectra import predict

__all__ = ["main"]


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=examples("sfh-cnn predict example --plot example.png")
    + '\n\nCompletion in bash: eval "$(_SFH_CNN_COMPLETE=bash_source sfh-cnn)" (also zsh_source, fish_source).',
)
@click.option(
    "--options",
    type=click.Path(exists=True, dir_okay=False),
    callback=use_option_file,
    expose_value=False,
    is_eager=True,
    help="TOML file with defaults: a table for each command, its options as keys.",
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(__version__, prog_name="sfh-cnn")
def main(debug):
    """Star formation and enrichment histories from galaxy spectra and photometry."""


for _command in (predict, photometry, plot, info, synthesize, train, evaluate, release):
    main.add_command(_command)
