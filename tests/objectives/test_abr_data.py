"""Reading waveforms.csv: what is kept, what is masked, and every way in which a file can be wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hpo.objective import DataError
from objectives import abr_data, abr_synthetic
from objectives.abr_data import LABELS, SAMPLE_COLUMNS, STATICS, read
from tests.objectives.cases import recordings

HEADER = ["subject", *STATICS, *LABELS, *SAMPLE_COLUMNS]
Table = list[list[str]]


def row(subject: str = "A", hearing: str = "", present: str = "", latency: str = "", amplitude: str = "") -> list[str]:
    return [subject, "60", "0", "1000", hearing, present, latency, amplitude, *[f"{0.001 * k:.3f}" for k in range(200)]]


def write(path: Path, rows: Table, header: list[str] | None = None) -> Path:
    lines = [HEADER if header is None else header, *rows]
    path.write_text("\n".join(",".join(cells) for cells in lines) + "\n")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as error:
        read(path)
    return str(error.value)


def test_an_empty_cell_is_a_missing_label_and_never_a_zero(tmp_path: Path) -> None:
    table = [row("A"), row("B", "0", "0"), row("C", "3", "1.0", "6.5", "0"), row("C", "", "", "7", "")]
    found = read(write(tmp_path / "any name.csv", table))
    assert found.subject.tolist() == ["A", "B", "C", "C"]
    assert found.hearing_class.tolist() == [-1, 0, 3, -1]
    assert found.present.tolist() == [-1, 0, 1, -1]
    np.testing.assert_array_equal(found.latency_ms, np.array([np.nan, np.nan, 6.5, 7], np.float32))
    np.testing.assert_array_equal(found.amplitude_uv, np.array([np.nan, np.nan, 0, np.nan], np.float32))
    np.testing.assert_array_equal(found.statics, [[60, 0, 1000]] * 4)
    assert found.waveform.shape == (4, 200)
    assert found.waveform[3, 199] == np.float32(0.199)


def test_order_of_columns_others_and_empty_lines_do_not_matter(tmp_path: Path) -> None:
    table = [["more", *reversed(row("A", "2"))], [], ["", *reversed(row("B"))]]
    path = write(tmp_path / "waveforms.csv", table, ["comment", *reversed(HEADER)])
    found = read(tmp_path)
    assert found.subject.tolist() == ["A", "B"]
    assert found.hearing_class.tolist() == [2, -1]
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))  # as spreadsheets save it
    assert read(path).waveform.shape == (2, 200)


def test_label_columns_that_are_not_there_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "w.csv", [row(hearing="2")])
    assert read(path).absent == ()
    kept = [name for name in HEADER if name not in LABELS[1:]]
    table = [[cell for name, cell in zip(HEADER, row("A", "2"), strict=True) if name in kept]]
    found = read(write(path, table, kept))
    assert found.absent == LABELS[1:] and found.hearing_class.tolist() == [2] and found.present.tolist() == [-1]


def test_doubtful_picks_are_masked_and_counted(tmp_path: Path) -> None:
    latencies = ["1.958", "3.999", "4", "10", "10.05", "13.06", ""]
    table = [row(present="1", latency=latency, amplitude="0.2") for latency in latencies]
    masked, doubtful = read(write(tmp_path / "w.csv", table)).masked_picks()
    assert doubtful == 4
    np.testing.assert_array_equal(np.isnan(masked.latency_ms), [True, True, False, False, True, True, True])
    np.testing.assert_array_equal(np.isnan(masked.amplitude_uv), [True, True, False, False, True, True, False])
    assert masked.present.tolist() == [1] * 7


def changed(column: str, value: str) -> Callable[[Table], None]:
    def change(table: Table) -> None:
        table[1][HEADER.index(column)] = value

    return change


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (changed("subject", " "), "line 3, column subject: empty; folds need to know whose waveform this is"),
        (
            changed("s17", "0.1.2"),
            "line 3, column s17: '0.1.2' is not a finite number; it is needed in every row, in uV",
        ),
        (changed("s0", ""), "line 3, column s0: '' is not a finite number; it is needed in every row, in uV"),
        (changed("s199", "nan"), "line 3, column s199: 'nan' is not a finite number; it is needed in every row, in uV"),
        (
            changed("level_db", "loud"),
            "line 3, column level_db: 'loud' is not a finite number; it is needed in every row, in dB",
        ),
        (
            changed("freq_khz", "click"),
            "line 3, column freq_khz: 'click' is not a finite number; it is needed in every row, in kHz, 0 for a click",
        ),
        (changed("freq_khz", "-1"), "line 3, column freq_khz: '-1' is too small; give it in kHz, 0 for a click"),
        (changed("n_sweeps", "0"), "line 3, column n_sweeps: '0' is too small; give it 1 or more"),
        (
            changed("hearing_class", "nan"),
            "line 3, column hearing_class: 'nan' is not a number; leave the cell empty where there is no label",
        ),
        (
            changed("hearing_class", "4"),
            "line 3, column hearing_class: '4' is no class; there are 0 (below threshold), 1 (0-10 dB), "
            "2 (15-30 dB), 3 (>30 dB), or leave the cell empty",
        ),
        (changed("hearing_class", "1.5"), "line 3, column hearing_class: '1.5' is no class; there are 0"),
        (changed("hearing_class", "-1"), "line 3, column hearing_class: '-1' is no class; there are 0"),
        (
            changed("wave_v_present", "yes"),
            "line 3, column wave_v_present: 'yes' is not a number; leave the cell empty where there is no label",
        ),
        (
            changed("wave_v_present", "2"),
            "line 3, column wave_v_present: '2' is neither 1 nor 0; leave the cell empty where nobody looked",
        ),
        (
            changed("wave_v_latency_ms", "6500"),
            "line 3, column wave_v_latency_ms: '6500' is outside 0 to 30 ms; is it in another unit?",
        ),
        (changed("wave_v_latency_ms", "-0.1"), "line 3, column wave_v_latency_ms: '-0.1' is outside 0 to 30 ms"),
        (
            changed("wave_v_amplitude_uv", "inf"),
            "line 3, column wave_v_amplitude_uv: 'inf' is not a number; leave the cell empty where there is no label",
        ),
        (
            lambda table: table.__setitem__(1, row(present="0", latency="6.1")),
            "line 3, column wave_v_latency_ms: '6.1' is given although wave_v_present is 0; empty one of the two",
        ),
        (lambda table: table[1].pop(), "line 3: 207 cells, the header has 208; is a comma missing?"),
        (lambda table: table[1].append("9"), "line 3: 209 cells, the header has 208; is a comma missing?"),
    ],
)
def test_a_wrong_cell_is_named_with_line_column_value_and_way_out(
    tmp_path: Path, change: Callable[[Table], None], expected: str
) -> None:
    table = [row(), row(), row()]
    change(table)
    path = write(tmp_path / "w.csv", table)
    first, problem = refusal(path).split("\n")
    assert first == f"{path}: 1 problem"
    assert problem.startswith(f"  {expected}")


def test_all_problems_are_listed_at_once_but_not_more_than_twenty(tmp_path: Path) -> None:
    path = write(tmp_path / "w.csv", [row(hearing="9"), row("", present="x"), row()])
    assert [line.split(":")[0] for line in refusal(path).split("\n")[1:]] == [
        "  line 2, column hearing_class",
        "  line 3, column subject",
        "  line 3, column wave_v_present",
    ]
    write(path, [row(hearing="9")] * 50)
    lines = refusal(path).split("\n")
    assert lines[0] == f"{path}: 50 problems"
    assert len(lines) == 22
    assert lines[-1] == "  and 30 more"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", r"the file is empty; its first line names the columns, from subject to s199"),
        (",".join(HEADER).encode(), r"no rows below the header; each row is one averaged waveform"),
        (
            ";".join(HEADER).encode(),
            r"the first line has one column, 'subject;level_db;.*'; separate columns by commas",
        ),
        (
            ",".join(HEADER[1:-10]).encode(),
            r"line 1: no column subject, s190, s191, s192, s193, s194, s195, s196 and 3 more; every row needs them",
        ),
        (",".join([*HEADER, "s3"]).encode(), r"line 1: more than one column s3; keep one of each"),
        (",".join(HEADER).encode() + b"\nM\xfcller", r"byte \d+ is not UTF-8 text; save the table as CSV in UTF-8"),
        (b"a,b\n" + b"x" * 200_000, r"line 1: no column subject"),
        (",".join(HEADER).encode() + b"\n" + b"x" * 200_000, r"not a CSV file \(field larger than field limit"),
    ],
    ids=["empty", "no rows", "semicolons", "columns", "twice", "encoding", "other", "not a table"],
)
def test_a_file_that_is_no_table_of_waveforms_is_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "w.csv"
    path.write_bytes(content)
    assert re.match(f"{re.escape(str(path))}: {expected}", refusal(path))


@pytest.mark.parametrize("name", ["", "other.csv"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    source = tmp_path / name
    wanted = source if name else tmp_path / "waveforms.csv"
    assert refusal(source) == f"{wanted}: no such file; give a CSV file, or a folder that holds waveforms.csv"


def test_the_recordings_are_read_whole() -> None:
    found = read(recordings("abr"))
    assert len(found.subject) == 792
    assert np.bincount(found.hearing_class + 1).tolist() == [444, 81, 81, 108, 78]
    assert np.bincount(found.present + 1).tolist() == [734, 6, 52]
    _, doubtful = found.masked_picks()
    assert doubtful == 7  # one at 1.96 ms, six after 10 ms


def test_made_up_waveforms_are_the_same_on_every_call_and_look_like_recordings() -> None:
    first, second = abr_synthetic.generate(), abr_synthetic.generate()
    for name, values in vars(first).items():
        np.testing.assert_array_equal(values, getattr(second, name))
    assert len(first.subject) == 780
    assert len(np.unique(first.subject)) == 10
    shares = np.bincount(first.hearing_class[first.hearing_class >= 0]) / (first.hearing_class >= 0).sum()
    assert len(shares) == len(abr_data.CLASSES)
    assert shares.min() < 0.1 < 0.4 < shares.max()
    assert first.masked_picks()[1] == 0
    assert (first.present[np.isfinite(first.latency_ms)] == 1).all()


def test_made_up_noise_falls_with_the_sweeps_and_waves_come_later_at_low_levels() -> None:
    made = abr_synthetic.generate()
    level, _, sweeps = made.statics.T
    below = made.hearing_class == 0
    few, many = (made.waveform[below & (sweeps == n)].std() for n in (500, 4000))
    assert 2.0 < few / many < 3.5  # 8 times the sweeps: noise falls by sqrt(8) = 2.8
    picked = np.isfinite(made.latency_ms)
    assert np.corrcoef(level[picked], made.latency_ms[picked])[0, 1] < -0.5
