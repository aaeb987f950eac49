"""EPL's recordings and picks: what they become, and every way in which a folder of them can be wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from scipy.signal import filtfilt, zpk2tf

from hpo.objective import DataError
from objectives.abr.data import Grid, Recordings
from objectives.abr.epl import is_folder, is_recording, read_file, read_folder
from objectives.abr.epl_files import read_recording
from tests.objectives.cases import recordings

LEVELS = (20, 30, 40, 52, 80)
NAN = float("nan")


def write(folder: Path, name: str = "ABR-7-1", freq: str = "16.00", levels: tuple[int, ...] = LEVELS) -> Path:
    """A recording as the instrument writes it: 12 ms at 100 kHz, level k a 1 kHz sine of k + 1 uV; bytes and all."""
    time_ms = np.arange(1200) / 100
    offset = 1e-3 * (crc32(name.encode()) % 1000)  # no two recordings are the same
    waves = np.sin(2 * np.pi * time_ms)[:, None] * (1 + np.arange(len(levels))) + offset
    header = [
        ":RUN-3\tLEVEL SWEEP\tTEMP:207.44\t4/6/2007\t8:03 AM\t-3852.21HR:\t",
        f":SW EAR: R\tSW FREQ: {freq}\t# AVERAGES: 512\tREP RATE (/sec): 40\tDRIVER: X\tSAMPLE (\xb5sec): 10\t",
        ":NOTES-",
        ":CHAMBER-412",
        f":LEVELS:{';'.join(map(str, levels))};",
        ":DATA",
        "",
    ]
    matrix = "\r\n".join("\t".join(f"{value:10.6f}" for value in row) for row in waves)
    path = folder / name
    path.write_bytes(("\r".join(header) + matrix + "\r\n\r\r").encode("latin-1"))
    return path


def analyse(folder: Path, name: str = "ABR-7-1-analyzed.txt", threshold: str = "30.0", **peaks: str) -> Path:
    """An analysis as the program writes it; `peaks` maps a level to its cells of P1 and P5."""
    columns = [f"{point} {what}" for point in ("P1", "P5") for what in ("Latency", "Amplitude")]
    lines = [
        f"Threshold (dB SPL): {threshold}",
        "Frequency (kHz): 16.00",
        "Filter history (zpk format):",
        "Pass 0 -- z: array([ 1., -1.]), p: array([ 0.99,  0.73]), k: 0.13",
        "NOTE: Negative latencies indicate no peak",
        "\t".join(["Level", "1msec Avg", "1msec StDev", *columns, ""]),
    ]
    for level, cells in ({"L80": "1.2\t2.0\t5.25\t1.37", "L20": "-1.5\t0.1\t-6.5\t0.2"} | peaks).items():
        lines.append(f"{level.removeprefix('L')}.00\t0.1\t0.2\t{cells}")
    path = folder / name
    path.write_bytes(("\r\n".join(lines) + "\r\n").encode())
    return path


def refusal(source: Path, read: Callable[[Path, Grid], Recordings] = read_folder) -> list[str]:
    folder = source if source.is_dir() else source.parent
    with pytest.raises(DataError, match=f"^{re.escape(str(folder))}: ") as error:
        read(source, Grid())
    return [line.strip() for line in str(error.value).split("\n")[1:]]


def test_picks_become_labels_and_what_nobody_said_stays_missing(tmp_path: Path) -> None:
    write(tmp_path)
    analyse(tmp_path, L30="1.4\t0.4\t-6.0\t0.3", L52="1.3\t1.1\t5.5\t-0.25")
    found = read_folder(tmp_path, Grid())
    np.testing.assert_array_equal(found.statics, [[level, 16, 512] for level in LEVELS])
    assert found.hearing_class.tolist() == [0, 1, 1, 2, 3]  # -10, 0, 10, 22, 50 dB above threshold
    assert found.present.tolist() == [0, 0, -1, 1, 1]  # 40 dB is not in the analysis
    np.testing.assert_array_equal(found.latency_ms, np.array([NAN, NAN, NAN, 5.5, 5.25], np.float32))
    np.testing.assert_array_equal(found.amplitude_uv, np.array([NAN, NAN, NAN, -0.25, 1.37], np.float32))
    assert found.notes == () and found.unlabelled == ""


def test_waveforms_are_put_on_the_grid(tmp_path: Path) -> None:
    write(tmp_path)
    found = read_folder(tmp_path, Grid(20_000, 11))
    expected = np.outer(1 + np.arange(5), np.sin(2 * np.pi * np.arange(220) / 20)) + 1e-3 * (crc32(b"ABR-7-1") % 1000)
    np.testing.assert_allclose(found.waveform[:, 20:], expected[:, 20:], atol=0.015)  # 0.3 % of the largest


def test_runs_of_an_animal_are_one_subject_and_a_click_has_no_frequency(tmp_path: Path) -> None:
    for name in ("ABR-7-1", "CAP-7-2", "ABR-M12-left-1", "pilot"):
        write(tmp_path, name, "click" if name == "CAP-7-2" else "8.0")
    found = read_folder(tmp_path, Grid())
    assert found.file is not None
    assert dict(zip(found.file.tolist(), found.subject.tolist(), strict=True)) == {
        "ABR-7-1": "7", "CAP-7-2": "7", "ABR-M12-left-1": "M12-left", "pilot": "pilot"
    }  # fmt: skip
    assert set(found.statics[found.file == "CAP-7-2", 1]) == {0.0}
    assert found.unlabelled == (
        "no thresholds and no picks of wave V (P5) in any *-analyzed.txt; only predictions do without labels"
    )


@pytest.mark.parametrize(
    "name", ["ABR-7-1-analyzed.txt", "ABR-7-1-16.0kHz-analyzed.txt", "ABR-7-1-16.0kHz-BB-analyzed.txt"]
)
def test_an_analysis_finds_its_recording_whatever_the_program_called_it(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    assert read_folder(tmp_path, Grid()).unlabelled
    analyse(tmp_path, name, "None")
    found = read_folder(tmp_path, Grid())
    assert set(found.hearing_class.tolist()) == {-1}  # no threshold, no class
    assert found.present.tolist() == [0, -1, -1, -1, 1]


def test_a_single_recording_is_read_without_the_picks_beside_it(tmp_path: Path) -> None:
    path = write(tmp_path)
    analyse(tmp_path)
    found = read_file(path, Grid())
    assert len(found.subject) == 5 and set(found.present.tolist()) == {-1}
    assert found.unlabelled == "a single recording is read without its picks; give its folder"


def test_line_ends_and_the_micro_sign_may_have_been_converted(tmp_path: Path) -> None:
    path = write(tmp_path)
    expected = read_file(path, Grid()).waveform
    text = path.read_bytes().decode("latin-1").replace("\r\n", "\n").replace("\r", "\n")
    for sign in ("\xb5", "u", "\u03bc", "\N{REPLACEMENT CHARACTER}"):
        path.write_bytes(text.replace("\xb5", sign).encode())
        np.testing.assert_array_equal(read_file(path, Grid()).waveform, expected)


def test_zeros_and_other_files_are_left_out_with_a_note(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_bytes(
        re.sub(rb"(?m)\t[^\t\r\n]*(\r\n)", rb"\t 0.0\1", path.read_bytes().replace(b":DATA\r", b":DATA\r\n"))
    )
    (tmp_path / "LICENSE").write_text("MIT")
    (tmp_path / ".DS_Store").write_bytes(b"\0")
    found = read_folder(tmp_path, Grid())
    assert found.statics[:, 0].tolist() == [20, 30, 40, 52]
    assert found.notes == (
        "not read, neither EPL recordings nor their picks: LICENSE",
        "left out, as nothing but zeros was recorded: ABR-7-1 at 80 dB",
    )


def edited(old: bytes, new: bytes) -> Callable[[Path], object]:
    def edit(path: Path) -> None:
        content = path.read_bytes()
        assert old in content
        path.write_bytes(content.replace(old, new))

    return edit


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (
            lambda path: path.write_bytes(bytes(range(256)) * 40),
            r"ABR-7-1, line 1: begins with '.*', not with ':RUN-': no EPL recording, or a damaged one; export it again",
        ),
        (lambda path: path.write_bytes(b""), r"ABR-7-1, line 1: begins with '', not with ':RUN-'"),
        (
            lambda path: path.write_bytes(path.read_bytes().split(b":LEVELS")[0]),
            r"ABR-7-1: the header has no item LEVELS \(dB, separated by semicolons\); is it cut off\?\n"
            r"ABR-7-1: no line :DATA among its 5 lines; the export is cut off, repeat it",
        ),
        (edited(b":DATA", b":DUTY"), r"ABR-7-1: no line :DATA among its \d+ lines; the export is cut off, repeat it"),
        (
            lambda path: path.write_bytes(path.read_bytes().split(b"DATA")[0] + b"DATA\r"),
            r"ABR-7-1: nothing follows :DATA; the export is cut off, repeat it",
        ),
        (
            edited(b"52;80;", b"52;80;90;"),
            r"ABR-7-1, line 7: has 5 values, LEVELS names 6 levels, and so do 1199 more lines; every line has them all",
        ),
        (
            lambda path: path.write_bytes(path.read_bytes().rstrip()[:-20]),
            r"ABR-7-1, line 1206: has [34] values, LEVELS names 5 levels; every line has them all, is the export",
        ),
        (edited(b"-0.", b"-0,"), r"ABR-7-1, line \d+, column \d: '-0,\d+' is not a number, or too large; it is in uV"),
        (
            edited(b"-0.", b"-9e9"),
            r"ABR-7-1, line \d+, column \d: '-9e9\d+' is not a number, or too large; it is in uV",
        ),
        (edited(b"SW FREQ: 16.00", b"SW FREQ: high"), r"ABR-7-1, line 2: SW FREQ is 'high'; it is kHz, or click"),
        (edited(b"AVERAGES: 512", b"AVERAGES: 0"), r"ABR-7-1, line 2: # AVERAGES is '0'; it is sweeps in the average"),
        (edited(b"(\xb5sec): 10", b"(\xb5sec): 0"), r"ABR-7-1, line 2: SAMPLE is '0'; it is microseconds between"),
        (edited(b"(\xb5sec)", b"(msec)"), r"ABR-7-1: the header has no item SAMPLE \(microseconds between samples\)"),
        (edited(b"20;30", b"20;x"), r"ABR-7-1, line 5: LEVELS is '20;x;40;52;80;'; it is dB, separated by semicolons"),
        (edited(b"20;30", b"20;20"), r"ABR-7-1, line 5: LEVELS names a level twice: '20;20;.*'; remove one of the two"),
        (
            edited(b"(\xb5sec): 10", b"(\xb5sec): 5"),
            r"ABR-7-1: 1200 samples at 200000 Hz end 6 ms after stimulus onset, data\.window_ms asks for 10; set "
            r"data\.window_ms to 6 or less, or give longer recordings",
        ),
    ],
)
def test_a_damaged_recording_is_named_with_line_and_way_out(
    tmp_path: Path, damage: Callable[[Path], object], expected: str
) -> None:
    path = write(tmp_path)
    damage(path)
    assert re.match(expected, "\n".join(refusal(tmp_path)))
    assert re.match(expected, "\n".join(refusal(path, read_file)))


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (
            edited(b"SPL): 30.0", b"SPL): low"),
            "line 1: 'Threshold (dB SPL): low'; it is 'Threshold (dB SPL):' and a number in dB, or None",
        ),
        (
            edited(b"Frequency", b"Pitch"),
            "line 2: 'Pitch (kHz): 16.00'; it is 'Frequency (kHz):' and a number in kHz",
        ),
        (edited(b"kHz): 16", b"kHz): 8"), "line 2: 8 kHz, ABR-7-1 was recorded at 16 kHz"),
        (edited(b"Level\t", b"dB\t"), "no line of column names that begins with Level; save the analysis again"),
        (edited(b"\t5.25\t", b"\t"), "line 7: 6 values, line 6 names 7 columns"),
        (edited(b"\t5.25\t", b"\tnan\t"), "line 7, column P5 Latency: 'nan' is not a number, or too large"),
        (edited(b"80.00", b"loud"), "line 7, column Level: 'loud' is not a number, or too large"),
        (edited(b"20.00", b"80.00"), "line 8: 80 dB a second time; keep one of the two"),
        (edited(b"20.00", b"25.00"), "picks at 25 dB, which ABR-7-1 does not have; is it of another recording?"),
        (edited(b"P5 Amp", b"P6 Amp"), "line 6: P5 Latency and P5 Amplitude belong together; one is missing"),
        (
            lambda path: path.write_bytes(b"\r\n".join(path.read_bytes().split(b"\r\n")[:6])),
            "no levels below line 6; save the analysis again, or remove it",
        ),
    ],
)
def test_a_wrong_analysis_is_named_with_line_column_and_value(
    tmp_path: Path, damage: Callable[[Path], object], expected: str
) -> None:
    write(tmp_path)
    path = analyse(tmp_path)
    damage(path)
    (problem,) = refusal(tmp_path)
    assert re.sub(r"^ABR-7-1-analyzed\.txt(, |: )", "", problem) == expected


def test_all_that_is_wrong_in_a_folder_is_said_at_once(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "ABR-7-2").write_bytes(write(tmp_path).read_bytes())
    write(tmp_path, "ABR-8-1.txt")
    (tmp_path / "ABR-8-1").write_bytes((tmp_path / "ABR-8-1.txt").read_bytes())
    (tmp_path / "ABR-9-1").write_bytes(b"\x00\x01")
    analyse(tmp_path)
    analyse(tmp_path, "ABR-7-1-16.0kHz-analyzed.txt")
    analyse(tmp_path, "ABR-5-1-analyzed.txt")
    assert refusal(tmp_path) == [
        r"ABR-9-1, line 1: begins with '\x00\x01', not with ':RUN-': no EPL recording, or a damaged one; "
        "export it again",
        "ABR-5-1-analyzed.txt: no recording ABR-5-1 beside it; add it, or remove this file",
        "ABR-7-1-analyzed.txt: ABR-7-1 has picks in ABR-7-1-16.0kHz-analyzed.txt already; keep one of the two",
        "ABR-7-2: the same waveforms as ABR-7-1; keep one of the two",
        "ABR-8-1.txt: ABR-8-1 is a recording of the same name; keep one of the two",
    ]


def test_what_is_taken_for_a_recording(tmp_path: Path) -> None:
    assert not is_folder(tmp_path)
    other = tmp_path / "notes.txt"
    other.write_text("ABR of mouse 7")
    assert not is_recording(other) and not is_folder(tmp_path)
    assert not is_recording(analyse(tmp_path)) and is_folder(tmp_path)  # its recording is missing: an error to say
    assert is_recording(write(tmp_path)) and is_recording(write(tmp_path, "pilot.dat"))


def test_the_recordings_of_the_program_are_read_whole() -> None:
    found = read_folder(recordings("abr") / "native_epl", Grid())
    assert found.waveform.shape == (25, 200) and np.isfinite(found.waveform).all()
    assert sorted(set(found.subject.tolist())) == ["139", "52"]
    assert found.hearing_class.tolist() == [0, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, *[-1] * 13]  # threshold 15 dB, None
    assert found.present.tolist() == [0, *[1] * 11, *[-1] * 13]  # a CAP has no wave V
    assert found.latency_ms[11] == np.float32(5.17) and found.amplitude_uv[11] == np.float32(1.37)
    assert found.masked_picks(10.0)[1] == 0


def test_picks_lie_on_the_recording_once_it_is_filtered_as_the_analysis_says() -> None:
    """Units, columns, levels and the origin of time at once: nothing else would give the picked amplitudes."""
    folder, problems = recordings("abr") / "native_epl", list[str]()
    recording = read_recording(folder / "ABR-52-3", problems)
    found = read_folder(folder, Grid())
    assert recording and not problems
    numerator, denominator = zpk2tf([1, -1], [0.9934729, 0.73615843], 0.13432327438619873)  # "Filter history", line 4
    filtered = filtfilt(numerator, denominator, recording.waves[:, :850], axis=1)  # the program keeps 8.5 ms
    picked = np.flatnonzero(found.present == 1)
    sample = np.rint(found.latency_ms[picked] * recording.rate_hz / 1e3).astype(int)
    np.testing.assert_allclose(found.amplitude_uv[picked], filtered[picked, sample], atol=0.011)
