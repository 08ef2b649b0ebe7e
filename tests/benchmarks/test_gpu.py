"""`gpu.py` on tiny networks and the CPU: both settings have a figure, and the profile names operators."""

import argparse

import gpu


def test_both_settings_and_the_profile():
    report = gpu.run(argparse.Namespace(device="cpu", rounds=1, joint_steps=1, quick=True))
    rows = {
        line.split("|")[1].split(",")[0].strip(): float(line.split("|")[2])
        for line in report.splitlines()
        if "stage 3" in line
    }
    assert set(rows) == {"two-phase", "joint"} and all(seconds > 0 for seconds in rows.values())
    assert "aten::" in report.split("```text")[1]
