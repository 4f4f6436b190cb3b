"""Tests of what can go wrong here without a card, a program or PyTorch: python3 -m unittest discover -s tests/bench"""

import contextlib
import io
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

import compare
from experiments import CARD_PRECISIONS, CARD_ROWS, Row, braces, rows
from losses import judge, write_curve
from processes import Clock, Failed, OutOfTime, answer_of, output_of
from table import CARD_COLUMNS, COLUMNS, table

HERE = pathlib.Path(__file__).resolve().parent


def dry_run(*given):
    """The lines of `compare.py --dry-run`."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        compare.show(compare.arguments(["--dry-run", *given]))
    return out.getvalue().splitlines()


def process(rate, **fields):
    """What a measured process says."""
    given = {"images_per_second": {"median": rate}, "peak_memory_bytes": 2**30, "start_seconds": 3.0, "waited_in_vain": False}
    return {**given, "tenth_step_seconds": 4.0, "device_memory_bytes": 2**31, "others_device_memory_bytes": 0, **fields}


class Rows(unittest.TestCase):
    def test_a_card_is_asked_what_matters_first(self):
        found = compare.arguments(["--dry-run", "--engine", "cuda"]).rows
        self.assertEqual(found[0], Row("swin_t", "full", "train", "bf16", 64))
        named = {(row.name, row.batch) for row in found}
        self.assertEqual(len(named), len(found))
        bf16 = braces("{swin_t,swin_s,swin_b,vit_s,vit_b}/{vanilla,full}/{train,infer}/bf16/{64,256}")
        others = braces("{swin_t,vit_s}/{vanilla,full}/train/{f32,tf32}/{64,256}")
        self.assertEqual(set(found), set(rows([*bf16, *others], 1, CARD_PRECISIONS)))
        self.assertLess(len(CARD_ROWS), len(found))

    def test_what_is_not_there_is_told(self):
        for pattern in ("swin_x/*/*/*", "swin_t/vanilla/train/tf32"):
            with self.assertRaisesRegex(SystemExit, "no row is called"):
                rows([pattern], 8)
        self.assertEqual(rows(["vit_s/full/infer/tf32/16"], 8, CARD_PRECISIONS), [Row("vit_s", "full", "infer", "tf32", 16)])

    def test_engines(self):
        self.assertEqual([compare.card_of(engine) for engine in ("cpu", "auto", "cuda", "cuda:1")], [None, None, 0, 1])
        for engine in ("cuda:", "cuda:x"):
            with self.assertRaisesRegex(SystemExit, "no card's number"):
                compare.card_of(engine)


class Commands(unittest.TestCase):
    def test_of_a_card(self):
        title, *pytorch, ours = dry_run("--engine", "cuda:1", "--rows", "vit_b/full/train/tf32/256")
        self.assertEqual(title, "# vit_b/full/train/tf32, batch 256")
        self.assertEqual(len(pytorch), 4)
        for flags, line in zip([set(), {"--channels-last"}, {"--compile"}, {"--channels-last", "--compile"}], pytorch):
            words = line.split()
            self.assertEqual({"--channels-last", "--compile"} & set(words), flags)
            self.assertIn("--device cuda:1 --warm-up 10 --block 10", line)
            self.assertIn("--precision tf32 --batch 256 --steps 5", line)
            self.assertIn("CUDA_DEVICE_ORDER=PCI_BUS_ID", words)
        caches = {next(word for word in line.split() if word.startswith("TORCHINDUCTOR")) for line in pytorch}
        self.assertEqual(len(caches), 4, "each compiles for itself")
        self.assertIn("FOLDER/fer-host bench FOLDER/vit_b_full.ron --json --engine cuda:1 --precision tf32", ours)
        self.assertIn("--phase train --batch 256 --steps 5 --warm-up 10 --block 10", ours)
        self.assertIn("FER_CACHE=FOLDER/vit_b-full-train-tf32-256/kernels", ours)

    def test_of_some_configurations(self):
        lines = dry_run(
            "--engine", "cuda", "--rows", "vit_s/full/train/bf16", "--configurations", "eager,compile+channels-last"
        )
        self.assertEqual(lines[0], "# vit_s/full/train/bf16, batch 64")
        self.assertEqual(len(lines), 4)
        with self.assertRaisesRegex(SystemExit, "no configuration fast here; there are eager, channels-last, compile"):
            dry_run("--engine", "cuda", "--configurations", "fast")

    def test_of_the_processor_know_no_card(self):
        lines = dry_run("--rows", "swin_t/vanilla/train/f32")
        self.assertEqual(lines[0], "# swin_t/vanilla/train/f32, batch 8")
        for word in ("--device", "--block", "--warm-up", "FER_CACHE", "CUDA"):
            self.assertFalse([line for line in lines if word in line], word)
        self.assertIn("--engine cpu", lines[-1])


class Time(unittest.TestCase):
    def test_a_process_is_ended_with_what_it_started(self):
        with tempfile.TemporaryDirectory() as folder:
            mark = pathlib.Path(folder) / "mark"
            script = f"(sleep 1; touch {mark}) & sleep 30"
            with self.assertRaisesRegex(Failed, "sh took longer than 0.005 minutes"):
                output_of(["sh", "-c", script], clock=Clock(process_minutes=0.005))
            subprocess.run(["sleep", "1.2"], check=True)
            self.assertFalse(mark.exists())

    def test_the_end_of_all_is_told_from_that_of_one(self):
        with self.assertRaises(OutOfTime):
            output_of(["sleep", "30"], clock=Clock(minutes=0.005))
        with self.assertRaises(OutOfTime):
            output_of(["true"], clock=Clock(minutes=0.0, process_minutes=1))
        self.assertEqual(output_of(["echo", "word"], clock=Clock(minutes=1)), "word\n")
        self.assertEqual(answer_of(["printf", 'tuning\n{"a": 1}\n'], None, Clock()), {"a": 1})
        with self.assertRaisesRegex(Failed, "gave no JSON but 'word'"):
            answer_of(["echo", "word"], None, Clock())
        with self.assertRaisesRegex(Failed, "^reason$"):
            output_of(["sh", "-c", "echo reason >&2; exit 3"])


class FakeSide:
    """Either side, whose processes are known beforehand; after `rounds` of them the time is up."""

    def __init__(self, rate, rounds=9):
        self.rate, self.left = rate, rounds

    def parameters(self, _row):
        return 7

    def trials(self, _row):
        return {"eager": process(1.0, parameters=7), "compile": process(self.rate, parameters=7)}, {"other": "why"}

    def measure(self, _row, *_):
        self.left -= 1
        if self.left < 0:
            raise OutOfTime
        return process(self.rate, parameters=7)


class Results(unittest.TestCase):
    def card(self, *given):
        return compare.arguments(["--dry-run", "--engine", "cuda", *given])

    def test_of_a_card_are_a_row_of_its_table(self):
        row = Row("vit_s", "full", "train", "bf16", 64)
        found = compare.compare(row, FakeSide(100.0), FakeSide(150.0), self.card())
        self.assertEqual((found["ratio"], len(found["ratios"])), (1.5, 3))
        self.assertEqual((found["pytorch"]["configuration"], found["pytorch"]["failed"]), ("compile", {"other": "why"}))
        line = {"row": row.name, "batch": 64, "card": {"name": "a card"}, **json.loads(json.dumps(found))}
        failed = {"row": "vit_b/full/train/bf16", "batch": 256, "error": "no | memory\nat all"}
        head, _, *lines = table([line, failed], [Row("swin_t", "full", "infer", "f32", 8)]).splitlines()
        self.assertEqual(head, f"| {' | '.join(CARD_COLUMNS)} |")
        speeds = "100.00 | 150.00 | **1.50** (1.50 to 1.50)"
        others = "2.00 / 2.00 | 1.00 / 1.00 | 3.00 / 3.00 | 4.00 / 4.00 | 4.00 / 4.00 | 0.00"
        self.assertEqual(lines[0], f"| vit_s/full/train/bf16 | 64 | compile | {speeds} | {others} |")
        self.assertTrue(lines[1].startswith("| vit_b/full/train/bf16 | 256 | failed: no / memory |"))
        self.assertTrue(lines[2].startswith("| swin_t/full/infer/f32 | 8 | not measured: time was up |"))
        self.assertEqual({line.count("|") for line in lines}, {len(CARD_COLUMNS) + 1})

    def test_of_fewer_rounds_count_when_the_time_is_up(self):
        row = Row("vit_s", "full", "train", "bf16", 64)
        # The program's first process finds nothing compiled, and is not of a round.
        found = compare.compare(row, FakeSide(100.0), FakeSide(150.0, rounds=3), self.card())
        self.assertEqual(len(found["ratios"]), 2)
        with self.assertRaises(OutOfTime):
            compare.compare(row, FakeSide(100.0), FakeSide(150.0, rounds=1), self.card())

    def test_of_the_processor_are_as_they_were(self):
        row = Row("vit_s", "full", "train", "bf16", 8)
        found = compare.compare(row, FakeSide(10.0), FakeSide(12.0), compare.arguments(["--dry-run", "--rounds", "1"]))
        self.assertNotIn("cold", found["pytorch"])
        found["pytorch"]["runs"][0]["other_cpu"] = found["fer_host"]["runs"][0]["other_cpu"] = 0.01
        head, _, line = table([{"row": row.name, "batch": 8, **found}]).splitlines()
        self.assertEqual(head, f"| {' | '.join(COLUMNS)} |")
        self.assertTrue(
            line.endswith("| compile | 10.00 | 12.00 | **1.20** (1.20 to 1.20) | 1.00 / 1.00 | 3.00 / 3.00 | 1% |")
        )

    def test_that_are_there_are_left_out_of_what_is_continued(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "results.jsonl"
            lines = [
                {"row": "vit_s/full/train/bf16", "batch": 64},
                {"row": "vit_s/full/infer/bf16", "batch": 64, "error": "x"},
            ]
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))
            given = ["--engine", "cuda", "--rows", "vit_s/full/*/bf16", "--out", str(path), "--continue"]
            self.assertEqual([row.phase for row in compare.arguments(given).rows], ["infer"])


class Losses(unittest.TestCase):
    # PyTorch is further from the truth in every step, at last by 1 %.
    TRUTH = [2.0, 1.0, 1.0]
    PYTORCH = [2.000002, 1.001, 1.01]

    def judged(self, ours, tolerance=1e-5):
        return judge(list(zip(ours, [*self.PYTORCH, 0.5])), self.TRUTH, tolerance)

    def test_as_near_to_the_truth_as_the_others_are(self):
        found = self.judged([2.00001, 0.999, 1.02, 0.6])
        self.assertTrue(found["within"])
        self.assertEqual((found["steps"], found["first_steps"]), (4, 3))
        self.assertAlmostEqual(found["largest_distance_from_f64"]["fer_host"], 0.02)
        self.assertAlmostEqual(found["largest_distance_from_f64"]["pytorch"], 0.01)
        self.assertAlmostEqual(found["largest_difference"]["first_steps"], 0.01 / 1.01)
        self.assertAlmostEqual(found["largest_difference"]["all_steps"], 0.2, msg="which is not held to anything")

    def test_further_from_it_than_the_others_have_been_so_far(self):
        for ours in ([2.0001, 1.0, 1.0, 0.5], [2.0, 1.004, 1.0, 0.5], [2.0, 1.0, 0.96, 0.5]):
            self.assertFalse(self.judged(ours)["within"], ours)
            self.assertTrue(self.judged(ours, tolerance=0.05)["within"], ours)

    def test_are_written_side_by_side(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "curve.csv"
            write_curve(path, [(1.5, 1.0), (0.25, 0.5)], [1.25])
            lines = ["step,fer_host,pytorch,difference,pytorch_f64", "1,1.5,1,5.000e-01,1.25", "2,0.25,0.5,5.000e-01,"]
            self.assertEqual(path.read_text().splitlines(), lines)


class Files(unittest.TestCase):
    def test_lines_and_files_are_short(self):
        for path in [*HERE.glob("*.py"), HERE / "card.sh"]:
            lines = path.read_text().splitlines()
            self.assertLessEqual(len(lines), 500, path)
            for number, line in enumerate(lines, 1):
                self.assertLessEqual(len(line), 130, f"{path}:{number}")

    def test_the_card_script_says_what_it_needs(self):
        answer = subprocess.run([HERE / "card.sh", "--engine"], capture_output=True, text=True)
        self.assertEqual(answer.returncode, 2)
        self.assertIn("error: --engine needs a value", answer.stderr)

    def test_the_card_script_goes_on_where_a_part_fails(self):
        with tempfile.TemporaryDirectory() as folder:
            prebuilt = pathlib.Path(folder) / "prebuilt"
            prebuilt.mkdir()
            for path, script in [
                (prebuilt / "fer-host", "[ $1 = devices ] && echo cpu"),
                (prebuilt / "python", "echo $* >&2; exit 3"),
            ]:
                path.write_text(f"#!/bin/sh\n{script}\n")
                path.chmod(0o755)
            command = [HERE / "card.sh", "--python", prebuilt / "python", "--conformance", "echo all good", prebuilt]
            answer = subprocess.run([*command, f"{folder}/out", "1"], capture_output=True, text=True)
            out = pathlib.Path(folder) / "out"
            lines = (out / "summary.txt").read_text().splitlines()
            self.assertEqual(answer.returncode, 1)
            self.assertEqual((out / "conformance.log").read_text(), "all good\n")
            self.assertTrue(answer.stdout.endswith("".join(line + "\n" for line in lines)), answer.stdout)
            names = ["devices", "conformance", "curve-f32", "curve-tf32", "curve-bf16"]
            names += ["profile-swin_vanilla", "profile-swin_proposed", "compare"]
            self.assertEqual([line.split()[0] for line in lines], names)
            self.assertIn("done in", lines[0])
            self.assertIn("FAILED with 3", lines[-1])
            self.assertIn("--continue --minutes 0.", lines[-1])


if __name__ == "__main__":
    sys.exit(unittest.main())
