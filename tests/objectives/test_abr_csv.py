"""Reading waveforms.csv: what is kept, what is masked, and every way in which a file can be wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hpo.objective import DataError
from objectives.abr import csv as abr_csv
from objectives.abr.data import LABELS, STATICS, Grid, Recordings
from tests.objectives.cases import recordings

SAMPLE_COLUMNS = [f"s{k}" for k in range(200)]
HEADER = ["subject", *STATICS, *LABELS, *SAMPLE_COLUMNS]
Table = list[list[str]]


def read(path: Path, grid: Grid = Grid()) -> Recordings:  # noqa: B008 - a frozen value
    return abr_csv.read(path, grid)


def row(subject: str = "A", hearing: str = "", present: str = "", latency: str = "", amplitude: str = "") -> list[str]:
    wave = [f"{ord(subject[0]) if subject else 0}", *[f"{0.001 * k:.3f}" for k in range(1, 200)]]
    return [subject, "60", "0", "1000", hearing, present, latency, amplitude, *wave]


def write(path: Path, rows: Table, header: list[str] | None = None) -> Path:
    lines = [HEADER if header is None else header, *rows]
    path.write_text("\n".join(",".join(cells) for cells in lines) + "\n")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(DataError, match=re.escape(str(path))) as error:
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
    found = read(path)
    assert found.subject.tolist() == ["A", "B"]
    assert found.hearing_class.tolist() == [2, -1]
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))  # as spreadsheets save it
    assert read(path).waveform.shape == (2, 200)


def test_label_columns_that_are_not_there_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "w.csv", [row(hearing="2")])
    assert read(path).unlabelled == ""
    kept = [name for name in HEADER if name not in LABELS[1:]]
    table = [[cell for name, cell in zip(HEADER, row("A", "2"), strict=True) if name in kept]]
    found = read(write(path, table, kept))
    assert found.unlabelled == (
        "w.csv, line 1: no column wave_v_present, wave_v_latency_ms, wave_v_amplitude_uv; "
        "label columns may be empty, but only predictions do without them"
    )
    assert found.hearing_class.tolist() == [2] and found.present.tolist() == [-1]


def test_doubtful_picks_are_masked_and_counted(tmp_path: Path) -> None:
    latencies = ["1.958", "3.999", "4", "10", "10.05", "13.06", ""]
    table = [row(present="1", latency=latency, amplitude="0.2") for latency in latencies]
    masked, doubtful = read(write(tmp_path / "w.csv", table)).masked_picks(10.0)
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
        (changed("s3", "1e300"), "line 3, column s3: '1e300' is too large; give it in uV"),
        (changed("level_db", "1e10"), "line 3, column level_db: '1e10' is too large; give it in dB"),
        (
            changed("wave_v_amplitude_uv", "1e40"),
            "line 3, column wave_v_amplitude_uv: '1e40' is too large; is it in an",
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


def resampled(path: Path, rows: int, samples: int, timing: dict[str, list[str]]) -> Path:
    """A file of 1 kHz sines that start at the stimulus onset, taken when `timing` says."""
    header = ["subject", *STATICS, *timing, *[f"s{k}" for k in range(samples)]]
    table = []
    for number in range(rows):
        rate, start = (float(timing[name][number]) if name in timing else d for name, d in abr_csv.TIMING.items())
        time_ms = start + 1e3 * np.arange(samples) / rate
        wave = np.sin(2 * np.pi * time_ms + number)
        table.append(
            [f"S{number}", "60", "0", "1000", *(c[number] for c in timing.values()), *map(repr, wave.tolist())]
        )
    return write(path, table, header)


def test_each_row_has_its_own_rate_and_start(tmp_path: Path) -> None:
    timing = {"sampling_rate_hz": ["20000", "40000", "24414.0625", "50000"], "start_ms": ["0", "-1", "-2.048", "-0.5"]}
    found = read(resampled(tmp_path / "w.csv", 4, 600, timing))
    time_ms = np.arange(200) / 20
    for number in range(4):
        inner = slice(20, None)  # the first ms has the filter's edge
        np.testing.assert_allclose(
            found.waveform[number, inner], np.sin(2 * np.pi * time_ms + number)[inner], atol=0.003
        )


def test_without_the_columns_samples_are_taken_every_50_us_from_the_onset_on(tmp_path: Path) -> None:
    path = resampled(tmp_path / "w.csv", 2, 260, {})
    np.testing.assert_allclose(read(path).waveform[0], np.sin(2 * np.pi * np.arange(200) / 20), atol=1e-6)
    assert read(path, Grid(20_000, 12.9)).waveform.shape == (2, 258)
    assert read(path, Grid(10_000, 8)).waveform.shape == (2, 80)


def test_waveforms_that_do_not_fill_the_window_say_what_would(tmp_path: Path) -> None:
    timing = {"sampling_rate_hz": ["20000", "40000", "20000", "20000"], "start_ms": ["0", "0", "-1", "0.5"]}
    path = resampled(tmp_path / "w.csv", 4, 210, timing)
    assert refusal(path).split("\n")[1:] == [
        "  line 3: 210 samples at 40000 Hz end 5.25 ms after stimulus onset, data.window_ms asks for 10; "
        "set data.window_ms to 5.25 or less, or give longer recordings",
        "  line 4: 210 samples at 20000 Hz end 9.5 ms after stimulus onset, data.window_ms asks for 10; "
        "set data.window_ms to 9.5 or less, or give longer recordings",
        "  line 5: starts 0.5 ms after stimulus onset; the window starts at the onset",
    ]
    path = resampled(tmp_path / "w.csv", 4, 190, {})
    assert refusal(path).split("\n")[1].startswith("  line 2 and 3 more rows: 190 samples at 20000 Hz end 9.5 ms after")


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("sampling_rate_hz", "20", "'20' is too small; give it in Hz, or remove the column for 20000"),
        ("sampling_rate_hz", "", "'' is not a finite number; it is needed in every row, in Hz, or remove the column"),
        ("start_ms", "onset", "'onset' is not a finite number; it is needed in every row, in ms, or remove the column"),
    ],
)
def test_a_wrong_time_is_named(tmp_path: Path, column: str, value: str, expected: str) -> None:
    table = [[*row("A"), "0"], [*row("B"), value]]
    if column == "sampling_rate_hz":
        table[0][-1] = "20000"
    problems = refusal(write(tmp_path / "w.csv", table, [*HEADER, column])).split("\n")[1:]
    assert len(problems) == 1 and problems[0].startswith(f"  line 3, column {column}: {expected}")


def test_rows_of_unequal_length_are_refused(tmp_path: Path) -> None:
    table = [row("A"), row("B"), row("C")]
    table[1][-50:] = [""] * 50
    assert refusal(write(tmp_path / "w.csv", table)).split("\n")[1] == (
        "  line 3: 150 samples, the header has 200 (s150 and all after it are empty); every waveform of a file has the "
        "same number: cut the longer ones"
    )


def test_one_waveform_belongs_to_one_subject(tmp_path: Path) -> None:
    table = [row("A"), row("B"), row("A"), row("B")]
    table[3][0] = "A"
    problem = "  line 5: the waveform of line 3, of subject 'B'; whose is it? Keep one of the two"
    path = write(tmp_path / "w.csv", table)
    assert refusal(path).split("\n")[1:] == [problem]
    table.pop()
    assert read(write(path, table)).notes == (
        "waveforms that are there more than once, of one subject each: 1 rows too many; they stay",
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", r"the file is empty; its first line names the columns, from subject to the last sample"),
        (",".join(HEADER).encode(), r"no rows below the header; each row is one averaged waveform"),
        (
            ";".join(HEADER).encode(),
            r"the first line has one column, 'subject;level_db;.*'; separate columns by commas",
        ),
        (
            ",".join([*HEADER[1:20], *HEADER[30:]]).encode(),
            r"line 1: no column subject, s12, s13, s14, s15, s16, s17, s18 and 3 more; every row needs them",
        ),
        (
            b"Subject,Level dB,freq_khz,n_sweeps,s0,s1",
            r"line 1: no column subject, level_db; every row needs them; there is Subject, Level dB, but names count "
            r"to the letter, case included$",
        ),
        (",".join([*HEADER, "s3"]).encode(), r"line 1: more than one column s3; keep one of each"),
        (",".join(HEADER).encode() + b"\nM\xfcller", r"byte \d+ is not UTF-8 text; save the table as CSV in UTF-8"),
        (b"a,b\n" + b"x" * 200_000, r"line 1: no column subject"),
        (",".join(HEADER).encode() + b"\n" + b"x" * 200_000, r"not a CSV file \(field larger than field limit"),
    ],
    ids=["empty", "no rows", "semicolons", "columns", "case", "twice", "encoding", "other", "not a table"],
)
def test_a_file_that_is_no_table_of_waveforms_is_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "w.csv"
    path.write_bytes(content)
    assert re.match(f"{re.escape(str(path))}: {expected}", refusal(path))


def test_the_recordings_are_read_whole() -> None:
    found = read(recordings("abr") / "waveforms.csv")
    assert len(found.subject) == 792
    assert np.bincount(found.hearing_class + 1).tolist() == [444, 81, 81, 108, 78]
    assert np.bincount(found.present + 1).tolist() == [734, 6, 52]
    _, doubtful = found.masked_picks(10.0)
    assert doubtful == 7  # one at 1.96 ms, six after 10 ms
