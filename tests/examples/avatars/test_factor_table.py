from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from examples.avatars.factor_table import factor_table, main
from hyperstyle import HyperStyleInverter
from hyperstyle.fitting import fit_interfacegan


def test_an_edit_is_fitted_to_factors_that_are_known_from_z() -> None:
    pytest.importorskip("sklearn")
    model = HyperStyleInverter.from_pretrained("avatars", device="cpu").model
    assert model.evaluator is not None
    table = factor_table(2000)
    assert tuple(table.values) == model.evaluator.config.traits
    report = fit_interfacegan(model, table, ["smile"], chosen=0.05)["smile"].info.report
    assert report["accuracy"]["held_out"] > 0.9


def test_the_table_is_written_where_it_is_wanted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--out", str(tmp_path / "factors.npz"), "--count", "8"])
    with np.load(tmp_path / "factors.npz") as table:
        assert table["codes"].shape[0] == table["smile"].shape[0] == 8
    with pytest.raises(SystemExit, match="2"):
        main(["--out", str(tmp_path / "none.npz"), "--model", str(tmp_path / "none")])
    assert "no model" in capsys.readouterr().err
