"""Floor 5: the command line, without science. ``sfh_cnn.cli.main`` holds the command ``sfh-cnn``."""

__all__ = []
