"""Tests of the progress bar."""

from sfh_cnn.core import progress


def test_quiet_when_nobody_looks(capsys):
    """Logs and pipes get no bar."""
    with progress(10, "predicting") as advance:
        advance(5)
        advance()
    assert capsys.readouterr() == ("", "")


def test_the_bar_counts_on_stderr(capsys):
    """Description and count show, and above them notes as they are; standard output stays clean for results."""
    with progress(10, "predicting", enabled=True) as advance:
        advance(4)
        advance(6, "a note on [/this]")
    out, err = capsys.readouterr()
    assert out == ""
    assert "predicting" in err
    assert "10/10" in err
    assert err.index("a note on [/this]") < err.index("10/10")
