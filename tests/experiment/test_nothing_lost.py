"""Whatever ends a process, a full disk or a second run, the old model or the new one is left."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_resume import StopAt

import nelbo
from conftest import Run
from fixtures.tiny_model import assert_equal, small, weights
from nelbo.cli import main
from nelbo.errors import UserError
from nelbo.experiment import run as runs
from nelbo.training import Callback, checkpoint, signals

X = np.random.default_rng(0).integers(0, 256, (60, 6, 5), np.uint8)
TINY: dict[str, Any] = {
    "batch_size": 16,
    "model__encoder": {"kind": "mlp", "hidden": [4]},
    "model__latent__dim": 2,
    "post_hoc_prior": "",
}


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of one epoch. Not to be changed."""
    out = tmp_path_factory.mktemp("runs") / "x"
    np.save(out.with_name("x.npy"), X)
    nelbo.fit(out.with_name("x.npy"), out=out, epochs=1, **TINY)
    return out


@pytest.fixture
def out(begun: Path, tmp_path: Path) -> Path:
    """A copy of that folder."""
    return Path(shutil.copytree(begun, tmp_path / "x"))


def test_the_campaign_of_kills_finds_nothing_lost() -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "reliability.py"
    done = subprocess.run(
        [sys.executable, script, "kills", "--n", "4", "--seed", str(time.time_ns())], capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stdout.startswith("kills: 4 tried, 0 failed"), done.stdout + done.stderr


class Crash(BaseException):
    """The end of a process: nothing more happens on the disk."""


def crash_at(k: int, patch: pytest.MonkeyPatch) -> None:
    """From the k-th call on that changes the disk, each raises `Crash` in place of its work."""
    calls = iter(range(k))

    def hooked(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **more: Any) -> Any:
            if next(calls, None) is None:
                raise Crash
            return call(*arguments, **more)

        return wrapper

    for name in ("fsync", "replace", "unlink", "mkdir"):
        patch.setattr(os, name, hooked(getattr(os, name)))


@pytest.mark.parametrize("old_edition", [False, True], ids=["", "over a model of an older version"])
def test_a_crash_while_saving_leaves_the_old_model_or_the_new_one(out: Path, old_edition: bool) -> None:
    old, new = nelbo.load(out), nelbo.fit_prior(nelbo.load(out), X, "normal")
    folder = out / "model"
    if old_edition:
        checkpoint.write(folder / "weights.safetensors", old.vae.state_dict(), {"format": 1})
        text = (folder / "model.json").read_text("utf-8")
        (folder / "model.json").write_text("".join(line for line in text.splitlines(True) if '"id"' not in line))
    found, ended = [], False
    while not ended:
        before = shutil.copytree(folder, out / f"copy{len(found)}")
        with pytest.MonkeyPatch.context() as patch:
            crash_at(len(found), patch)
            try:
                new.save(before)
                ended = True
            except Crash:
                pass
        loaded = nelbo.load(before)
        found.append(loaded.recipe == new.recipe)
        assert_equal(weights(loaded), weights(new if found[-1] else old))
    assert found[0] is False and found[-1] is True and found == sorted(found) and len(found) >= 5


def test_files_of_two_models_load_as_the_one_of_the_weights(begun: Path, tmp_path: Path) -> None:
    """As a copy has them that was made, or a reader that looked, between the two files of a save."""
    old, new = nelbo.load(begun), nelbo.fit_prior(nelbo.load(begun), X, "normal")
    for name, model in (("old", old), ("new", new)):
        model.save(tmp_path / name)
    for mine, other, model in (("old", "new", old), ("new", "old", new)):
        shutil.copytree(tmp_path / mine, tmp_path / f"{mine}2")
        shutil.copy(tmp_path / other / "model.json", tmp_path / f"{mine}2")
        loaded = nelbo.load(tmp_path / f"{mine}2")
        assert loaded.recipe == model.recipe
        assert_equal(weights(loaded), weights(model))
    (tmp_path / "new" / "model.json").unlink()
    assert nelbo.load(tmp_path / "new").recipe == new.recipe


def test_an_edited_model_json_is_read(begun: Path, tmp_path: Path) -> None:
    nelbo.load(begun).save(tmp_path)
    file = tmp_path / "model.json"
    file.write_text(file.read_text("utf-8").replace(str(begun.with_name("x.npy")), "elsewhere.npy"), "utf-8")
    assert nelbo.load(tmp_path).recipe.data.source == "elsewhere.npy"


def test_a_reader_beside_a_writer_has_one_model_or_the_other(begun: Path, tmp_path: Path) -> None:
    old, new = nelbo.load(begun), nelbo.fit_prior(nelbo.load(begun), X, "normal")
    old.save(tmp_path)
    done = threading.Event()

    def write() -> None:
        for model in [new, old] * 10:
            model.save(tmp_path)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        loaded = nelbo.load(tmp_path)
        assert_equal(weights(loaded), weights(new if loaded.recipe == new.recipe else old))
    writer.join()


def test_a_link_is_replaced_and_never_followed(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("mine")
    for name in (".x.png.tmp", "x.png"):
        (tmp_path / name).symlink_to(mine)
    checkpoint.write_bytes(tmp_path / "x.png", b"new")
    assert (mine.read_text(), (tmp_path / "x.png").read_bytes()) == ("mine", b"new")
    assert not (tmp_path / "x.png").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".x.png.tmp", "mine", "x.png"]


def test_resuming_with_fewer_epochs_than_are_done_ends(run: Run, out: Path) -> None:
    resume = ("train", "--resume", "--out", out, "-q", "--epochs")
    assert run(*resume, 2).code == 0
    before = (out / "recipe.toml").read_bytes()
    code, _, err = run(*resume, 1)
    assert code == 2 and err.count("\n") == 1 and "--epochs 2" in err
    assert (out / "recipe.toml").read_bytes() == before
    assert run(*resume, 2).code == 0 and run(*resume, 3).code == 0


def test_a_second_run_in_a_folder_is_refused(run: Run, begun: Path, out: Path) -> None:
    with runs.locked(out):
        for more in ("--force", "--resume"):
            code, _, err = run("train", begun.with_name("x.npy"), "--out", out, more, "-q")
            assert code == 2 and err.count("\n") == 1 and "in use" in err and "--out" in err
    assert run("train", "--resume", "--out", out, "-q").code == 0


class Harm(Callback):
    """Does something to the folder of a run after its first epoch."""

    def __init__(self, harm: Callable[[], None]) -> None:
        self.harm = harm

    def on_epoch(self, vae: Any, epoch: int, rows: Any) -> None:
        if epoch == 1:
            self.harm()


def test_an_output_folder_that_is_removed_in_mid_run_is_written_again(tmp_path: Path) -> None:
    out = tmp_path / "run"
    model = nelbo.fit(X, out=out, epochs=2, callbacks=[Harm(lambda: shutil.rmtree(out))], **TINY)
    assert_equal(weights(nelbo.load(out)), weights(model))
    assert nelbo.fit(X, out=out, resume=True, epochs=3).recipe.training.epochs == 3


@pytest.mark.parametrize("harm", ["full", "file"])
def test_a_model_whose_folder_cannot_be_written_is_saved_elsewhere(
    harm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, or a file in place of the folder: the run goes on, with one warning; then the model is rescued."""
    out, fsync = tmp_path / "run", os.fsync
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def full(number: int) -> None:
        if str(out) in os.readlink(f"/proc/self/fd/{number}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(number)

    def spoil() -> None:
        if harm == "full":
            monkeypatch.setattr(os, "fsync", full)
        else:
            shutil.rmtree(out)
            out.write_text("")

    if harm == "full" and not Path("/proc/self/fd").is_dir():
        pytest.skip("the disk of one folder is filled by its name in /proc")
    with pytest.warns(UserWarning) as warned:
        model = nelbo.fit(X, out=out, epochs=3, callbacks=[Harm(spoil)], **TINY)
    first, last = (str(warning.message) for warning in warned)
    assert "training goes on" in first and "cannot write" in first and "cannot write" in last
    (rescued,) = tmp_path.glob("nelbo-*")
    assert str(rescued) in last and model.trained["epochs"] == 3
    assert_equal(weights(nelbo.load(rescued)), weights(model))


def cli(*arguments: object) -> None:
    """The command line in a forked process, without output."""
    sys.argv = ["nelbo", *map(str, arguments)]
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    main()


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_ends_training_with_its_code_and_the_model_saved(
    name: str, code: int, begun: Path, tmp_path: Path
) -> None:
    settings = ["--epochs", 10**5, "--set", "model.encoder=mlp", "--post-hoc-prior", "", "-q"]
    command = ("train", begun.with_name("x.npy"), "--out", tmp_path / "run", *settings)
    process = multiprocessing.get_context("fork").Process(target=cli, args=command)
    process.start()
    while not (tmp_path / "run" / "recipe.toml").exists() and process.is_alive():
        time.sleep(0.01)
    os.kill(process.pid or 0, signal.Signals[name])
    process.join(60)
    assert process.exitcode == code
    assert nelbo.load(tmp_path / "run").recipe.training.epochs == 10**5


@pytest.mark.parametrize("handler", [signal.SIG_IGN, None], ids=["ignored", "handled by C code"])
def test_a_signal_that_others_own_stays_theirs(handler: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    if handler is None:
        monkeypatch.setattr(signal, "getsignal", lambda number: None)
    else:
        signal.signal(signal.SIGTERM, handler)
    try:
        with signals.interruptions() as received:
            if handler is not None:
                os.kill(os.getpid(), signal.SIGTERM)
        assert received == []
    finally:
        monkeypatch.undo()
        signal.signal(signal.SIGTERM, before)


def test_a_second_signal_is_handled_as_usual() -> None:
    with pytest.raises(KeyboardInterrupt), signals.interruptions() as received:
        os.kill(os.getpid(), signal.SIGINT)
        assert received == [signal.SIGINT]
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_training_works_in_another_thread(tmp_path: Path) -> None:
    models: list[nelbo.Model] = []
    thread = threading.Thread(target=lambda: models.append(nelbo.fit(X, out=tmp_path, epochs=1, **TINY)))
    thread.start()
    thread.join()
    assert_equal(weights(nelbo.load(tmp_path)), weights(models[0]))


def test_an_interrupted_fit_without_a_folder_leaves_its_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("nelbo.training.loop.LOOK_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt), pytest.warns(UserWarning, match="the model is in"):
        nelbo.fit(X, epochs=9, callbacks=[StopAt(2)], **TINY)
    (rescued,) = tmp_path.glob("nelbo-*")
    assert len(nelbo.load(rescued).sample(2)) == 2


def test_an_interrupt_during_the_fit_of_a_prior_leaves_the_trained_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "fit_prior", interrupt)
    with pytest.raises(KeyboardInterrupt):
        nelbo.fit(X, out=tmp_path / "run", epochs=1, **{**TINY, "post_hoc_prior": "gmm"})
    assert nelbo.load(tmp_path / "run").trained["epochs"] == 1
    monkeypatch.undo()
    assert nelbo.fit(X, out=tmp_path / "run", resume=True).recipe.model.latent.options["prior"].kind == "mixture"


def test_an_interrupt_at_import_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from nelbo.__main__ import main as start

    class Interrupting:
        def find_spec(self, name: str, *_: Any) -> None:
            if name == "nelbo.cli":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "nelbo.cli")
    monkeypatch.setattr(sys, "meta_path", [Interrupting(), *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        start()
    assert (ended.value.code, capsys.readouterr().err) == (130, "Interrupted\n")


def test_early_stopping_resumes_with_the_best_weights_of_its_own_run(tmp_path: Path) -> None:
    """The best weights are in the checkpoint: another run's file of them, newer or older, has no effect."""
    settings = {"early_stopping_patience": 3, "epochs": 4}
    whole, data = small(**settings)
    whole.fit(data, tmp_path / "whole")
    cut, _ = small(**{**settings, "epochs": 2})
    cut.fit(data, tmp_path / "cut")
    (tmp_path / "cut" / "best.safetensors").unlink()
    again, _ = small(**settings)
    again.fit(data, tmp_path / "cut", resume=True)
    assert_equal(weights(again), weights(whole))


def test_a_read_only_folder_is_refused_before_training(tmp_path: Path, monkeypatch: Any) -> None:
    def refuse(**_: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(UserError, match="Read-only"):
        nelbo.fit(X, out=tmp_path / "run", epochs=1, **TINY)
