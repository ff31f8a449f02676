"""The doctor tells the truth about this machine and notices what is missing."""

import io

from rich.console import Console

from vlm import doctor


def test_every_check_runs_here_and_says_what_to_do_when_not_well():
    for check in (c() for c in doctor.CHECKS):
        assert check.found
        assert check.state == "ok" or check.advice, check.name


def test_a_missing_decoder_package_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "pyjpegls" else "1")
    check = doctor.check_images()
    assert check.state == "missing" and "pyjpegls" in check.advice


def test_a_processor_without_bfloat16_is_named(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"architecture": "x86_64", "avx512_bf16": False})
    check = doctor.check_bfloat16()
    assert check.state == "warn" and "slower" in check.advice
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"architecture": "x86_64", "amx_bf16": True})
    assert doctor.check_bfloat16().state == "ok"


def test_too_little_disk_stops_the_quickstart(monkeypatch):
    usage = type("Usage", (), {"free": 2**30})
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: usage)
    out = io.StringIO()
    assert doctor.report(Console(file=out, width=200)) == 1
    assert "cannot run yet" in out.getvalue()


def test_a_package_of_the_same_name_elsewhere_is_reported(monkeypatch):
    monkeypatch.setattr(
        doctor.importlib.metadata, "packages_distributions", lambda: {"tools": ["medvlm", "some-other-tools"]}
    )
    check = doctor.check_shadowing()
    assert check.state == "warn" and "some-other-tools" in check.found


def test_a_module_named_dl_is_a_trap(monkeypatch, tmp_path):
    (tmp_path / "dl.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert "gdcm" in doctor.check_traps().found
