"""The search of triton_tune on made-up figures, its edits of a config, its journal, and the arithmetic of a load."""

from __future__ import annotations

import json
import math

import pytest

from runtime.errors import BadInput
from runtime.triton import load_generator, model_config, tune_report, tune_search
from runtime.triton.load_generator import Measured
from runtime.triton.tune_search import Journal, Search, Settings, Trial, applied, settings_of

CONFIG = """\
name: "m" # ours
max_batch_size: 64
instance_group [ { count: 1, kind: KIND_CPU } ] # one
dynamic_batching { preferred_batch_size: [ 16, 64 ] }
parameters { key: "intra_op_threads" value { string_value: "1" } }
parameters { key: "other" value { string_value: "1" } }
model_warmup { name: "w" batch_size: 64 inputs { key: "x" value { data_type: TYPE_FP32 dims: 1 zero_data: true } } }
"""
START = Settings(1, 64, True, 0, 1)


def point(level: float, rows_per_s: float, p99_ms: float = 1.0) -> Measured:
    return Measured("closed", level, 100, rows_per_s, rows_per_s, p99_ms / 2, p99_ms, p99_ms, 0.01, True)


def test_settings_are_read_from_a_config_and_written_back_with_its_comments():
    assert settings_of(model_config.parse(CONFIG)) == START
    wanted = Settings(4, 8, True, 500, 2)
    text = applied(CONFIG, wanted, "m_1")
    config = model_config.parse(text)
    assert settings_of(config) == wanted
    assert config.name == "m_1"
    assert list(config.dynamic_batching.preferred_batch_size) == []  # 16 and 64 are above the new 8
    assert config.model_warmup[0].batch_size == 8
    assert model_config.parameter(config, "other") == "1"
    assert "# ours" in text
    assert "# one" in text
    assert applied(CONFIG, START) == CONFIG


def test_batching_is_taken_away_and_given():
    direct = applied(CONFIG, Settings(1, 64, False, 0, 1))
    assert not model_config.parse(direct).HasField("dynamic_batching")
    assert settings_of(model_config.parse(applied(direct, Settings(1, 64, True, 100, 1)))).delay_us == 100


def test_several_instance_groups_become_one():
    two = CONFIG.replace("[ { count: 1, kind: KIND_CPU } ]", "[ { count: 2 }, { count: 1 } ]")
    assert settings_of(model_config.parse(two)).instances == 3
    assert settings_of(model_config.parse(applied(two, Settings(4, 64, True, 0, 1)))).instances == 4


def search(figures, *, latency_ms=None, seconds=60.0, known=None):
    """The best settings where `figures(settings)` gives the points; and what was run."""
    ran = []

    def run(settings, _seconds):
        ran.append(settings)
        return figures(settings)

    found = Search(run, lambda _trial, _fresh: None, latency_ms, seconds, 8, known or {})
    return found.best(START), ran


def test_each_setting_is_kept_when_it_is_better():
    def figures(s):
        return [point(4, 100.0 * min(s.instances, 4) * (1.5 if s.delay_us == 500 else 1) * (1.2 if s.max_batch_size == 8 else 1))]  # fmt: skip

    best, ran = search(figures)
    assert best.settings == Settings(4, 8, True, 500, 1)
    assert best.rows_per_s == pytest.approx(720)
    assert Settings(8, 64, True, 0, 1) in ran
    assert len(ran) == len(set(ran))


def test_a_gain_within_the_noise_changes_nothing():
    best, _ = search(lambda s: [point(4, 100.0 if s == START else 102.0)])
    assert best.settings == START


def test_a_bound_rules_out_what_is_fast_and_late():
    def figures(s):
        late = s.delay_us > 0 or s.instances > 2
        return [point(1, 50.0, 2.0), point(4, 100.0 * s.instances, 50.0 if late else 5.0)]

    best, _ = search(figures, latency_ms=10)
    assert (best.settings.instances, best.settings.delay_us, best.level) == (2, 0, 4)
    none, _ = search(lambda _s: [point(1, 100.0, 50.0)], latency_ms=10)
    assert (none.settings, none.rows_per_s, none.level) == (START, 0.0, 0.0)


def test_the_start_is_measured_when_no_time_is_left_and_known_trials_are_not_run_again():
    best, ran = search(lambda s: [point(1, 100.0)], seconds=0)
    assert ran == [START]
    _, again = search(lambda s: [point(1, 100.0)], known={START: best})
    assert START not in again


def test_the_ladder_ends_where_more_brings_nothing_or_breaks_the_bound():
    rates = {1: 100, 2: 120, 4: 200, 8: 300, 16: 202, 64: 900}
    later = math.inf
    assert [p.level for p in tune_search.levels(lambda n: point(n, rates[n]), None, later)] == [1, 4, 16]
    late = tune_search.levels(lambda n: point(n, rates[n], 1.0 if n < 16 else 20.0), 10.0, later)
    assert [p.level for p in late] == [1, 4, 16, 8]
    assert [p.level for p in tune_search.levels(lambda n: point(n, rates[n]), None, 0)] == [1]


def test_a_journal_gives_the_trials_back_and_forgets_a_line_that_was_cut(tmp_path):
    journal, trial = Journal(tmp_path / "a" / "j", "x"), Trial.of(START, [point(1, 5.0)], None)
    assert journal.read() == {}
    journal.add(trial)
    with journal.path.open("a") as file:
        file.write('{"search": "x", "sett')
    assert journal.read() == {START: trial}
    other = Trial.of(Settings(2, 64, True, 0, 1), [point(1, 6.0)], None)
    journal.add(other)
    assert list(journal.read().values()) == [trial, other]


def test_a_journal_of_another_search_or_no_journal_is_refused(tmp_path):
    Journal(tmp_path / "j", "x").add(Trial.of(START, [point(1, 5.0)], None))
    with pytest.raises(BadInput, match="is of another model, bound or machine; name another file"):
        Journal(tmp_path / "j", "y").read()
    (tmp_path / "k").write_text("hello\n")
    with pytest.raises(BadInput, match="is no journal of a search: line 1"):
        Journal(tmp_path / "k", "x").read()


def test_rates_are_those_of_whole_windows_and_their_interval_is_students():
    assert load_generator.window_rates([0.05, 0.1, 0.25, 0.55, 9.0], 0.0, 0.45) == [10.0, 5.0]
    assert load_generator.half_interval([100.0]) == math.inf
    assert load_generator.half_interval([0.0, 0.0]) == math.inf
    # mean 100, standard deviation 10, 4 values: 3.18 * 10 / 2 / 100
    assert load_generator.half_interval([90.0, 110.0, 95.0, 105.0]) == pytest.approx(3.18 * 9.1287 / 2 / 100, rel=1e-3)


def test_the_report_names_the_gain_or_that_there_is_none(tmp_path):
    base = Trial.of(START, [point(1, 50.0), point(4, 100.0, 9.0)], None)
    best = Trial.of(Settings(2, 64, True, 0, 1), [point(4, 150.0, 8.0)], None)
    result = tune_report.Result("m", 10.0, 1, [base, best], base, best, (100.0, 160.0))
    tune_report.write(tmp_path, result)
    page = (tmp_path / "tuning.md").read_text()
    assert "m: 2 x batch 64, dynamic, 0 us, 1 threads: 160 rows/s, 1.60 times the 100 of 1 x batch 64" in page
    assert "| 1 | 2 x batch 64, dynamic, 0 us, 1 threads | 150 | 4 | 8.00 | chosen |" in page
    assert len(json.loads((tmp_path / "trials.json").read_text())) == 2
    assert len((tmp_path / "trials.csv").read_text().splitlines()) == 4
    assert (tmp_path / "curve.png").read_bytes()[:4] == b"\x89PNG"
    same = tune_report.Result("m", None, 1, [base], base, base, (100.0, 100.0))
    assert tune_report.headline(same) == "m: no setting was better by more than 3 percent; its config stays as it is"
    late = tune_report.Result("m", 1.0, 1, [base], base, base, (0.0, 0.0))
    assert "nothing was within the bound" in tune_report.headline(late)
