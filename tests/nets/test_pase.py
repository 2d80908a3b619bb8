"""PASE+: the public code's names and arithmetic. Its weights cannot be had here, so all of this is on random ones."""

import pytest
import torch

from percloss.errors import ArgumentError
from percloss.nets.pase import PASE
from tests.nets.common import (
    glide,
    hears_the_shortest,
    is_made_of_its_generator_alone,
    keeps_the_protocol,
    refuses_what_is_no_waveform,
)
from tests.signals import noise

MAPS = (4, 4, 6, 6, 8, 8, 10, 10)


def small(**settings) -> PASE:
    return PASE(MAPS, recurrent=7, embedding=5, **settings)


def test_every_layer_is_there_and_carries_a_gradient() -> None:
    keeps_the_protocol(small(), time=4_000)


def test_what_is_no_waveform_is_refused() -> None:
    refuses_what_is_no_waveform(small())
    hears_the_shortest(small())


def test_weights_come_from_the_generator_given() -> None:
    is_made_of_its_generator_alone(small)


def test_frames_of_the_embedding_are_ten_milliseconds_apart() -> None:
    features = small().eval()(glide(16_000, 16_000))
    assert [x.shape[-1] for x in features.values()] == [16_000, 1600, 800, 800, 400, 400, 200, 100, 100, 100]


def test_the_recurrent_layer_is_its_equation_frame_by_frame() -> None:
    net = small().eval()
    x = noise(2, 10, 23)
    ((_, linear),) = ((name, m) for name, m in net.rnn.named_modules() if isinstance(m, torch.nn.Linear))
    state, before, expected = torch.zeros(2, 7), torch.zeros(2, 10), []
    for now in x.unbind(-1):
        candidate, forget, out = linear(torch.cat((now, before), dim=1)).chunk(3, dim=1)
        state = forget.sigmoid() * candidate.tanh() + (1 - forget.sigmoid()) * state
        expected.append(out.sigmoid() * state)
        before = now
    torch.testing.assert_close(net.rnn(x), torch.stack(expected, dim=-1))


def test_the_first_layer_is_a_bank_of_band_passes() -> None:
    conv = PASE().blocks[0].conv
    with torch.no_grad():
        impulse = torch.zeros(1, 1, 1001)
        impulse[..., 500] = 1
        response = torch.fft.rfft(conv(impulse)[0], n=16_000).abs()  # one bin a hertz
    peak = response.argmax(-1)
    low = 50 + conv.low_hz_[:, 0].abs()
    high = low + 50 + conv.band_hz_[:, 0].abs()
    assert ((low - 20 < peak) & (peak < high + 20)).all()


def test_an_untrained_bank_is_spread_over_mels() -> None:
    low = PASE().blocks[0].conv.low_hz_.detach()[:, 0]
    mels = 2595 * (1 + low / 700).log10()
    torch.testing.assert_close(mels.diff(), mels.diff().mean().expand(63), rtol=1e-3, atol=0)
    assert low[0].item() == pytest.approx(30, abs=0.01)


def test_a_file_in_the_authors_names_gives_back_what_was_saved(tmp_path) -> None:
    net = small(generator=torch.Generator().manual_seed(5)).eval()
    net.norm_out.running_mean += 0.1
    torch.save({"step": 3, "state_dict": net.state_dict()}, tmp_path / "FE.ckpt")
    loaded = PASE.pretrained(tmp_path / "FE.ckpt")
    assert not loaded.training
    x = glide(4_000, 16_000)
    assert torch.equal(loaded(x)["embedding"], net(x)["embedding"])


def test_the_names_are_those_of_the_public_code() -> None:
    shapes = {name: tuple(x.shape) for name, x in PASE().state_dict().items()}
    assert shapes["blocks.0.conv.low_hz_"] == shapes["blocks.0.conv.band_hz_"] == (64, 1)
    assert shapes["blocks.1.conv.weight"] == (64, 64, 20)
    assert shapes["blocks.7.conv.weight"] == (512, 512, 11)
    assert shapes["blocks.7.act.weight"] == (512,)
    assert shapes["denseskips.6.weight"] == (256, 512, 1)
    assert shapes["rnn.layers.0.linear.weight"] == (1536, 1024)
    assert shapes["W.weight"] == (256, 512, 1)
    assert shapes["norm_out.running_mean"] == (256,)
    assert sum(x.numel() for x in PASE().parameters()) == 7_832_896


def test_a_file_that_does_not_fit_is_refused_by_name(tmp_path) -> None:
    weights = small().state_dict()
    del weights["rnn.layers.0.linear.bias"]
    torch.save({**weights, "rnn.weight_ih_l0": torch.zeros(3)}, tmp_path / "gru.ckpt")
    with pytest.raises(ArgumentError, match=r"1 missing \(rnn.layers.0.linear.bias\); 1 unknown \(rnn.weight_ih_l0\)"):
        PASE.pretrained(tmp_path / "gru.ckpt")
    with pytest.raises(ArgumentError, match="FE_e199.ckpt"):
        PASE.pretrained()
    with pytest.raises(ArgumentError, match="there is no file"):
        PASE.pretrained(tmp_path / "nowhere.ckpt")


class Trap:
    """Runs something when it is unpickled."""

    def __reduce__(self):
        return print, ("sprung",)


@pytest.mark.parametrize("saved", [Trap(), [1, 2], {"a": 3}])
def test_what_is_no_dict_of_tensors_is_refused(tmp_path, capsys, saved) -> None:
    torch.save(saved, tmp_path / "odd.ckpt")
    with pytest.raises(ArgumentError, match="state_dict"):
        PASE.pretrained(tmp_path / "odd.ckpt")
    (tmp_path / "odd.ckpt").write_bytes(b"nothing of the kind")
    with pytest.raises(ArgumentError, match="state_dict"):
        PASE.pretrained(tmp_path / "odd.ckpt")
    assert not capsys.readouterr().out


def test_settings_that_make_no_net_are_refused() -> None:
    with pytest.raises(ArgumentError, match="eight maps"):
        PASE((4, 4))
    with pytest.raises(ArgumentError, match="eight maps"):
        PASE(MAPS, recurrent=0)
